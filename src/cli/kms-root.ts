/** sealdisk kms root: the root key, which seals all that the embedded KMS keeps. */

import { type Command, Option } from 'commander';
import { fail } from '../errors.js';
import { kmsDirOf } from '../kms/local/provider.js';
import {
  PROTECTION_KINDS,
  type ProtectionKind,
  type RootDescription,
  type RootEntry,
} from '../kms/local/root/description.js';
import type { Wish } from '../kms/local/root/protection.js';
import { describeRoot, protectRoot, rotateRoot } from '../kms/local/root/rotate.js';
import { action, type CommonOptions, common, environmentOf } from './context.js';
import { printFields, printJson, printLine, printNote } from './output.js';
import { askOnTerminal } from './passphrase.js';

export interface ProtectionOptions {
  readonly passphraseFile?: string;
  readonly tpmPcrs?: string;
}

export function register(group: Command): void {
  const root = group.command('root').description('show, protect or change the root key');
  registerShow(root);
  registerProtect(root);
  registerRotate(root);
}

function registerShow(root: Command): void {
  common(root.command('show').description('how the root key is kept'), 'sealdisk kms root show').action(
    action(async (options: CommonOptions) => show(await describeRoot(dirOf(options)), options)),
  );
}

function registerProtect(root: Command): void {
  const command = root
    .command('protect')
    .description('keep the same root key in another way')
    .argument('<kind>', `one of ${PROTECTION_KINDS.join(', ')}`);
  protectionOptions(command);
  common(command, 'sealdisk kms root protect passphrase --passphrase-file FILE').action(
    action(async (kind: string, options: CommonOptions & ProtectionOptions) => {
      askOnTerminal();
      show(await protectRoot(dirOf(options), wishOf(kindOf(kind), options)), options);
    }),
  );
}

function registerRotate(root: Command): void {
  const command = root
    .command('rotate')
    .description('make a new root key and seal everything under it; also ends a rotation that was cut short')
    .addOption(new Option('--protect <kind>', 'how the new one is kept').choices([...PROTECTION_KINDS]));
  protectionOptions(command);
  common(command, 'sealdisk kms root rotate').action(
    action(async (options: CommonOptions & ProtectionOptions & { protect?: ProtectionKind }) => {
      askOnTerminal();
      const wish = options.protect === undefined ? undefined : wishOf(options.protect, options);
      const rotated = await rotateRoot(dirOf(options), wish, progress());
      if (options.json) return printJson(rotated);
      const { generation, resumed, resealed } = rotated;
      const ended = resumed ? 'the rotation that was cut short is done' : 'done';
      printLine(`${ended}: root key ${generation}, ${resealed} files sealed anew`);
    }),
  );
}

export const protectionOptions = (command: Command): Command =>
  command
    .option('--passphrase-file <file>', 'a new passphrase stands in this file')
    .option('--tpm-pcrs <list>', 'the TPM gives it only while these PCRs are as they are now, as sha256:0,7');

export const wishOf = (kind: ProtectionKind, { passphraseFile, tpmPcrs }: ProtectionOptions): Wish => ({
  kind,
  ...(passphraseFile === undefined ? {} : { passphraseFile }),
  ...(tpmPcrs === undefined ? {} : { pcrs: tpmPcrs }),
});

function kindOf(text: string): ProtectionKind {
  const kind = PROTECTION_KINDS.find((each) => each === text);
  return kind ?? fail('USAGE', { what: `"${text}" is none of ${PROTECTION_KINDS.join(', ')}` });
}

const dirOf = (options: CommonOptions): string => kmsDirOf(environmentOf(options).poolDir);

function show(description: RootDescription, options: CommonOptions): void {
  const { current, old } = description;
  if (options.json) {
    printJson({ current: shown(current), old: old && shown(old) });
    return;
  }
  printFields({
    generation: String(current.generation),
    kept: keptAs(current),
    rotation: old === null ? '' : 'under way: sealdisk kms root rotate ends it',
  });
}

const shown = ({ generation, protection }: RootEntry): Record<string, unknown> => ({
  generation,
  kind: protection.kind,
  ...(protection.kind === 'file' ? { file: protection.file } : {}),
  ...(protection.kind === 'tpm' ? { pcrs: protection.pcrs } : {}),
});

function keptAs({ protection }: RootEntry): string {
  if (protection.kind === 'file') return `in ${protection.file}, unprotected`;
  if (protection.kind === 'tpm' && protection.pcrs !== null) return `by the TPM, PCRs ${protection.pcrs}`;
  return { passphrase: 'behind a passphrase', credential: 'by a systemd credential', tpm: 'by the TPM' }[
    protection.kind
  ];
}

/** A line now and then: sealing a hundred thousand records takes minutes. */
function progress(): (done: number, total: number) => void {
  let told = performance.now();
  return (done, total) => {
    if (performance.now() - told < 2000) return;
    told = performance.now();
    printNote(`${done} of ${total} files`);
  };
}
