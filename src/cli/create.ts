/** sealdisk create: a new disk, empty or from a snapshot or image. */

import { basename, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { createDisk } from '../disk/create.js';
import { readObject, type StoredObject } from '../disk/object.js';
import { createPlain } from '../disk/plain.js';
import { fail } from '../errors.js';
import { DEFAULT_KEY_URI } from '../kms/local/ref.js';
import { openProvider } from '../kms/registry.js';
import { makeFrom } from '../pool/from.js';
import { mayMake, type ToBe } from '../pool/may.js';
import { placeFor } from '../pool/resolve.js';
import { action, argument, type CommonOptions, common, environmentOf, objectPath } from './context.js';
import { collectTag } from './key-labels.js';
import { printJson, printLine } from './output.js';
import { formatSize, parseSize } from './units.js';

const KMS_TIMEOUT_MS = 30_000;

interface Options extends CommonOptions {
  readonly size?: bigint;
  readonly key?: string;
  readonly unencrypted?: boolean;
  readonly from?: string;
  readonly sectorSize?: '512' | '4096';
  readonly name?: string;
  readonly tag: Record<string, string>;
  readonly discard?: boolean;
}

export function register(program: Command): void {
  const command = program
    .command('create')
    .description('make an encrypted disk: a LUKS2 file whose data key is wrapped by a KMS key')
    .argument('<disk>', 'its name in the pool, or a path with a slash; nothing may be there')
    .option('--size <size>', 'usable size, as in 64M or 10G', argument(parseSize))
    .option('--key <uri>', `key that wraps the data key (default: ${DEFAULT_KEY_URI}, or the source's)`)
    .option('--from <object>', 'a snapshot or image to begin with; --size may be larger than it')
    .option('--unencrypted', 'a plain disk: a raw file without a key')
    .addOption(
      new Option('--sector-size <bytes>', 'encryption sector, 4096 by default').choices(['512', '4096']),
    )
    .option('--name <name>', 'a name for people, when it is not to be that of the file')
    .option('--tag <key=value>', 'a tag; may be given again', collectTag, {})
    .option('--discard', 'let the disk have holes: what was never written reads as zeros');
  common(command, 'sealdisk create data --size 10G --key alias/bar').action(
    action(async (word: string, options: Options) => {
      if (options.from !== undefined) return report(await fromSource(word, options.from, options), options);
      if (options.size === undefined) fail('USAGE', { what: 'expected --size, or --from' });
      if (options.unencrypted) return report(await plain(word, options.size, options), options);
      await encrypted(word, options.size, options);
    }),
  );
}

const pathFor = (word: string, encrypted: boolean, options: Options): string =>
  placeFor(word, { poolDir: resolve(options.pool), kind: 'disk', encrypted });

/** What people call it: as asked, or the word that named its place in the pool. */
const nameFor = (word: string, { name }: Options): string => name ?? (word.includes('/') ? '' : word);

const toBe = (word: string, keyUri: string | null, options: Options): ToBe => ({
  kind: 'disk',
  name: nameFor(word, options) || basename(word),
  source: '',
  tags: options.tag,
  keyUri,
});

async function encrypted(word: string, sizeBytes: bigint, options: Options): Promise<void> {
  const keyUri = options.key ?? DEFAULT_KEY_URI;
  const environment = { ...environmentOf(options), namedByOwner: true };
  await mayMake('ecs:CreateDisk', toBe(word, keyUri, options), environment);
  const path = pathFor(word, true, options);
  const provider = await openProvider(keyUri, environment);
  try {
    const made = await createDisk(
      {
        path,
        sizeBytes,
        sectorSize: options.sectorSize === '512' ? 512 : 4096,
        name: nameFor(word, options),
        tags: options.tag,
        discard: options.discard ?? false,
      },
      provider,
      KMS_TIMEOUT_MS,
    );
    if (options.json) printJson(made);
    else printLine(`${made.path}: ${formatSize(made.sizeBytes)}, uuid ${made.uuid}, key ${made.keyUri}`);
  } finally {
    await provider.close();
  }
}

async function plain(word: string, sizeBytes: bigint, options: Options): Promise<StoredObject> {
  const misplaced = (['key', 'sectorSize', 'discard'] as const).find((name) => options[name] !== undefined);
  if (misplaced) fail('USAGE', { what: `--unencrypted makes a plain disk, which has no ${misplaced}` });
  await mayMake('ecs:CreateDisk', toBe(word, null, options), environmentOf(options));
  const path = pathFor(word, false, options);
  const name = nameFor(word, options);
  await createPlain({ path, kind: 'disk', name, source: '', tags: options.tag }, sizeBytes);
  return readObject(path);
}

async function fromSource(word: string, from: string, options: Options): Promise<StoredObject> {
  const misplaced = (['sectorSize', 'discard', 'unencrypted'] as const).find((name) => options[name]);
  if (misplaced) fail('USAGE', { what: `with --from the source decides, there is no ${misplaced} to give` });
  const source = await readObject(await objectPath(from, options));
  if (source.label.object.kind === 'disk') {
    fail('USAGE', { what: `${from} is a disk: expected a snapshot or image; make one with snapshot create` });
  }
  return makeFrom(source, {
    kind: 'disk',
    placeOf: (encrypted) => ({ path: pathFor(word, encrypted, options), name: nameFor(word, options) }),
    tags: options.tag,
    keyUri: options.key,
    ...(options.size === undefined ? {} : { sizeBytes: options.size }),
    environment: environmentOf(options),
  });
}

/** Prints what was made of another object, or is plain. */
export function report(made: StoredObject, options: CommonOptions): void {
  const { path, uuid, label, sizeBytes, encrypted } = made;
  const keyUri = encrypted?.token.keyUri ?? null;
  if (options.json) {
    const { id, kind } = label.object;
    printJson({ id, kind, uuid, path, name: label.name, sizeBytes, keyUri, source: label.source });
    return;
  }
  const how = keyUri === null ? 'plain' : `key ${keyUri}`;
  printLine(`${path}: ${label.object.kind} ${label.object.id}, ${formatSize(sizeBytes)}, ${how}`);
}
