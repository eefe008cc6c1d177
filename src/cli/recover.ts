/** sealdisk recover: an owner's recovery passphrase, so that a lost KMS is not a lost disk. */

import type { Command } from 'commander';
import { type DiskDescription, readDisk } from '../disk/read.js';
import {
  addPassphrase,
  checkPassphrase,
  keyslotsOf,
  removePassphrase,
  rewrapByPassphrase,
} from '../disk/recover.js';
import { fail } from '../errors.js';
import { freeSecret } from '../kms/local/secret.js';
import type { KeyProvider, ProviderEnvironment, SecretBytes } from '../kms/provider.js';
import { canonicalKeyUri, openProvider } from '../kms/registry.js';
import {
  action,
  argument,
  type CommonOptions,
  common,
  environmentOf,
  OBJECT,
  objectPath,
} from './context.js';
import { confirm, printJson, printLine, printNote } from './output.js';
import { readPassphrase } from './recovery-passphrase.js';
import { parseDuration } from './units.js';

interface Options extends CommonOptions {
  readonly passphraseFile?: string;
  readonly iterTime?: number;
  readonly slot?: string;
  readonly key: string;
  readonly yes?: boolean;
}

const MEANING =
  'Whoever has this passphrase and the file, or an old copy of it, reads the disk, whatever becomes of its key: disabling or deleting the key in the KMS does not stop them.';

export function register(program: Command): void {
  const recover = program
    .command('recover')
    .description(
      "an owner's recovery passphrase (a LUKS2 keyslot, made by cryptsetup), for a KMS that is lost",
    );
  registerAdd(recover);
  registerCheck(recover);
  registerRemove(recover);
  registerRewrap(recover);
}

function registerAdd(recover: Command): void {
  const command = withFile(recover.command('add'))
    .description('add a passphrase that opens the disk without its KMS')
    .option('--iter-time <time>', 'how long one try of a passphrase is to take here', argument(parseDuration))
    .addHelpText('after', `\n${MEANING}`);
  common(command, 'sealdisk recover add data.disk --passphrase-file /root/passphrase').action(
    action(async (path: string, options: Options) => {
      const disk = await readDisk(await objectPath(path, options));
      printNote(MEANING);
      const passphrase = await readPassphrase(options.passphraseFile, true);
      const keyslot = await consuming(passphrase, () =>
        withKms(disk.token.keyUri, environmentOf(options), (provider) =>
          addPassphrase(disk.path, provider, passphrase, options.iterTime),
        ),
      );
      if (options.json) return printJson({ uuid: disk.header.uuid, path: disk.path, keyslot });
      printLine(
        `${disk.path}: keyslot ${keyslot} opens with the passphrase: cryptsetup open ${disk.path} NAME`,
      );
    }),
  );
}

function registerCheck(recover: Command): void {
  const command = withFile(recover.command('check')).description(
    'prove that the passphrase opens the disk, and that the header is the one it belongs to',
  );
  common(command, 'sealdisk recover check data.disk').action(
    action(async (path: string, options: Options) => {
      const passphrase = await readPassphrase(options.passphraseFile, false);
      const file = await objectPath(path, options);
      const disk = await consuming(passphrase, () => checkPassphrase(file, passphrase));
      const keyslots = keyslotsOf(disk.header);
      if (options.json) printJson({ uuid: disk.header.uuid, path: disk.path, keyslots });
      else printLine(`${disk.path}: the passphrase opens it (keyslots: ${keyslots.join(', ')})`);
    }),
  );
}

function registerRemove(recover: Command): void {
  const command = recover
    .command('remove')
    .description('take a passphrase away, once the KMS has opened the disk')
    .argument('<disk>', OBJECT)
    .option('--slot <number>', 'which keyslot, where there are several')
    .option('--yes', 'do not ask');
  common(command, 'sealdisk recover remove data.disk --yes').action(
    action(async (path: string, options: Options) => {
      const disk = await readDisk(await objectPath(path, options));
      const keyslot = options.slot ?? onlyKeyslot(disk);
      const question = `Remove the passphrase in keyslot ${keyslot} of ${disk.path}?`;
      await confirm('recover remove', question, options.yes ?? false);
      await withKms(disk.token.keyUri, environmentOf(options), (provider) =>
        removePassphrase(disk.path, provider, keyslot),
      );
      if (options.json) return printJson({ uuid: disk.header.uuid, path: disk.path, keyslot });
      printLine(`${disk.path}: keyslot ${keyslot} is gone; it is still in old copies of the file`);
    }),
  );
}

function registerRewrap(recover: Command): void {
  const command = withFile(recover.command('rewrap'))
    .description(
      'put the disk under another key by its passphrase alone: the KMS that it was under is not asked',
    )
    .requiredOption('--key <uri>', 'the key that wraps its data key from now on');
  common(command, 'sealdisk recover rewrap data.disk --key alias/new').action(
    action(async (path: string, options: Options) => {
      const keyUri = canonicalKeyUri(options.key);
      const passphrase = await readPassphrase(options.passphraseFile, false);
      const environment = { ...environmentOf(options), namedByOwner: true };
      const file = await objectPath(path, options);
      const disk = await consuming(passphrase, () =>
        withKms(keyUri, environment, (to) => rewrapByPassphrase(file, to, passphrase)),
      );
      const { keyId, keyVersion } = disk.token;
      if (options.json)
        return printJson({ uuid: disk.header.uuid, path: disk.path, keyUri, keyId, keyVersion });
      printLine(`${disk.path}: under version ${keyVersion} of ${keyUri}`);
    }),
  );
}

const withFile = (command: Command): Command =>
  command
    .argument('<disk>', 'file or block device made by sealdisk create')
    .option('--passphrase-file <file>', 'its first line is the passphrase; else it is asked for');

function onlyKeyslot({ path, header }: DiskDescription): string {
  const [first, ...more] = keyslotsOf(header);
  if (more.length > 0)
    fail('USAGE', { what: `${path} has keyslots ${[first, ...more].join(', ')}, expected --slot` });
  return first ?? fail('RECOVERY_NONE', { path });
}

async function withKms<T>(
  keyUri: string,
  environment: ProviderEnvironment,
  use: (provider: KeyProvider) => Promise<T>,
): Promise<T> {
  const provider = await openProvider(keyUri, environment);
  try {
    return await use(provider);
  } finally {
    await provider.close();
  }
}

async function consuming<T>(secret: SecretBytes, use: () => Promise<T>): Promise<T> {
  try {
    return await use();
  } finally {
    freeSecret(secret);
  }
}
