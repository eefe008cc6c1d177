/** sealdisk key: the keys of the embedded KMS. */

import { join } from 'node:path';
import type { Command } from 'commander';
import { type Attachment, list } from '../attach/attachments.js';
import type { KeyInfo } from '../kms/local/info.js';
import { LocalKms } from '../kms/local/local-kms.js';
import { schemeIds } from '../kms/registry.js';
import { action, type CommonOptions, common, environmentOf } from './context.js';
import { confirm, printFields, printJson, printLine, printNote, printTable } from './output.js';

type Yes = { yes?: boolean };

export function register(program: Command): void {
  const group = program
    .command('key')
    .description(
      `make, show, disable and enable keys of the embedded KMS (key schemes: ${schemeIds().join(', ')})`,
    );
  registerCreate(group);
  registerList(group);
  registerShow(group);
  registerDisable(group);
  registerEnable(group);
}

const kmsOf = (options: CommonOptions) => LocalKms.open(join(environmentOf(options).poolDir, 'kms'));

function registerCreate(group: Command): void {
  const command = group
    .command('create')
    .description('make a symmetric key; prints its id')
    .option('--alias <name>', 'a name for it: bar, or alias/bar')
    .option('--spec <spec>', 'key spec')
    .option('--description <text>', 'a note for people');
  common(command, 'sealdisk key create --alias bar').action(
    action(async (options: CommonOptions & { alias?: string; spec?: string; description?: string }) => {
      const { alias, spec, description } = options;
      const made = await kmsOf(options).createKey({
        ...(alias === undefined ? {} : { alias: alias.startsWith('alias/') ? alias : `alias/${alias}` }),
        ...(spec === undefined ? {} : { spec }),
        ...(description === undefined ? {} : { description }),
      });
      if (options.json) printJson(made);
      else printLine(made.keyId);
    }),
  );
}

function registerList(group: Command): void {
  const command = group.command('list').description('all keys');
  common(command, 'sealdisk key list').action(
    action(async (options: CommonOptions) => {
      const { keys } = await kmsOf(options).listKeys();
      if (options.json) return printJson(keys);
      printTable(
        ['KEY ID', 'STATE', 'ALIASES', 'CREATED'],
        keys.map((key) => [key.keyId, key.state, key.aliases.join(' '), key.createdAt]),
      );
    }),
  );
}

function registerShow(group: Command): void {
  const command = group
    .command('show')
    .description('one key, and the disks in service under it')
    .argument('<uri>', 'local:alias/NAME, alias/NAME or a key id');
  common(command, 'sealdisk key show alias/bar').action(
    action(async (uri: string, options: CommonOptions) => {
      const key = await kmsOf(options).describeKey(uri);
      const disks = await disksUnder(key);
      if (options.json) printJson({ ...key, disks: disks.map((disk) => disk.path) });
      else printKey(key, disks);
    }),
  );
}

function registerDisable(group: Command): void {
  const command = group
    .command('disable')
    .description('disable a key: disks under it stop within a check interval')
    .argument('<uri>', 'local:alias/NAME, alias/NAME or a key id')
    .option('--yes', 'do not ask');
  common(command, 'sealdisk key disable alias/bar --yes').action(
    action(async (uri: string, options: CommonOptions & Yes) => {
      const kms = kmsOf(options);
      const disks = await disksUnder(await kms.describeKey(uri));
      for (const disk of disks) {
        printNote(
          `in service: ${disk.path} (${disk.device ?? disk.address}), on key loss: ${disk.onKeyLoss}`,
        );
      }
      if (disks.length > 0) await confirm('key disable', `Disable ${uri}?`, options.yes ?? false);
      report(await kms.disableKey(uri), options);
    }),
  );
}

function registerEnable(group: Command): void {
  const command = group
    .command('enable')
    .description('enable a key: hung disks under it go on')
    .argument('<uri>', 'local:alias/NAME, alias/NAME or a key id');
  common(command, 'sealdisk key enable alias/bar').action(
    action(async (uri: string, options: CommonOptions) =>
      report(await kmsOf(options).enableKey(uri), options),
    ),
  );
}

function report(key: KeyInfo, options: CommonOptions): void {
  if (options.json) printJson(key);
  else printLine(`${key.keyId} is ${key.state}`);
}

const disksUnder = async (key: KeyInfo): Promise<Attachment[]> =>
  (await list()).filter((disk) => disk.keyId === key.keyId);

function printKey(key: KeyInfo, disks: Attachment[]): void {
  printFields({
    key: key.keyId,
    state: key.state,
    aliases: key.aliases.join(' '),
    created: key.createdAt,
    'in service': disks.map((disk) => `${disk.path} (${disk.device ?? disk.address})`).join(', '),
  });
}
