/** sealdisk key: the keys of the embedded KMS. */

import { type Command, Option } from 'commander';
import { type Attachment, list } from '../attach/attachments.js';
import { ROTATION_DAYS } from '../kms/local/cmk.js';
import type { KeyInfo } from '../kms/local/info.js';
import { SPECS, SYMMETRIC_SPEC } from '../kms/local/specs.js';
import { schemeIds } from '../kms/registry.js';
import { action, type CommonOptions, common, countUpTo } from './context.js';
import { aliasName, kmsOf, type Register } from './key-common.js';
import { IMPORT_COMMANDS } from './key-import.js';
import { collectTag, LABEL_COMMANDS } from './key-labels.js';
import { MATERIAL_COMMANDS } from './key-material.js';
import { STATE_COMMANDS } from './key-state.js';
import { registerUsage } from './key-usage.js';
import { printFields, printJson, printLine, printTable } from './output.js';

const COMMANDS: readonly Register[] = [
  registerCreate,
  registerList,
  registerShow,
  registerUsage,
  ...STATE_COMMANDS,
  ...MATERIAL_COMMANDS,
  ...IMPORT_COMMANDS,
  ...LABEL_COMMANDS,
];

export function register(program: Command): void {
  const group = program
    .command('key')
    .description(`keys of the embedded KMS, and what depends on a key (schemes: ${schemeIds().join(', ')})`);
  for (const each of COMMANDS) each(group);
}

interface CreateOptions extends CommonOptions {
  readonly alias?: string;
  readonly spec: string;
  readonly origin: 'kms' | 'external';
  readonly rotateEvery?: number;
  readonly protect?: boolean;
  readonly tag: Record<string, string>;
  readonly description: string;
}

function registerCreate(group: Command): void {
  const command = group
    .command('create')
    .description('make a key; prints its id')
    .option('--alias <name>', 'a name for it: bar, or alias/bar', aliasName)
    .addOption(new Option('--spec <spec>', 'only AES_256 wraps disks').choices(SPECS).default(SYMMETRIC_SPEC))
    .addOption(
      new Option('--origin <origin>', 'kms: material made here; external: brought by key import')
        .choices(['kms', 'external'])
        .default('kms'),
    )
    .option('--rotate-every <days>', 'rotate it by itself', countUpTo(ROTATION_DAYS.max))
    .option('--protect', 'protect it from deletion')
    .option('--tag <name=value>', 'may be repeated', collectTag, {})
    .option('--description <text>', 'a note for people', '');
  common(command, 'sealdisk key create --alias bar').action(
    action(async (options: CreateOptions) => {
      const { alias, spec, origin, description, tag, rotateEvery = null, protect = false } = options;
      const made = await kmsOf(options).createKey({
        ...(alias === undefined ? {} : { alias }),
        spec,
        origin,
        description,
        tags: tag,
        rotationDays: rotateEvery,
        deletionProtection: protect,
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
      const disks = (await list()).filter((disk) => disk.keyId === key.keyId);
      if (options.json) printJson({ ...key, disks: disks.map((disk) => disk.path) });
      else printKey(key, disks);
    }),
  );
}

function printKey(key: KeyInfo, disks: Attachment[]): void {
  const { rotation } = key;
  printFields({
    key: key.keyId,
    state: key.state,
    aliases: key.aliases.join(' '),
    spec: key.spec,
    origin: key.origin,
    description: key.description,
    tags: Object.entries(key.tags)
      .map(([name, value]) => `${name}=${value}`)
      .join(' '),
    created: key.createdAt,
    versions: key.primaryVersion,
    rotation: rotation ? `every ${rotation.periodDays} days, next ${rotation.nextAt}` : '',
    'material ends': key.materialExpiresAt ?? '',
    'gone at': key.deletionDate ?? '',
    protected: key.deletionProtection ? 'from deletion' : '',
    'in service': disks.map((disk) => `${disk.path} (${disk.device ?? disk.address})`).join(', '),
  });
}
