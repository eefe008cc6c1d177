/** sealdisk snapshot: what a disk held at one moment, and what is made of that. */

import { resolve } from 'node:path';
import type { Command } from 'commander';
import { restoreFrom } from '../attach/restore.js';
import { snapshotOf } from '../attach/take-snapshot.js';
import { readObject, type StoredObject } from '../disk/object.js';
import { fail } from '../errors.js';
import type { ObjectKind } from '../luks2/label.js';
import { makeFrom, type Placed } from '../pool/from.js';
import { placeFor } from '../pool/resolve.js';
import {
  action,
  type CommonOptions,
  common,
  environmentOf,
  OBJECT,
  OBJECT_OR_DEVICE,
  objectOrDevice,
  objectPath,
} from './context.js';
import { report } from './create.js';
import { registerDelete } from './delete.js';
import { collectTag } from './key-labels.js';
import { printObjects } from './list.js';
import { confirm, printLine } from './output.js';
import { withProgress } from './progress.js';
import { registerDiff } from './snapshot-diff.js';

interface Options extends CommonOptions {
  readonly name?: string;
  readonly tag: Record<string, string>;
  readonly freeze?: boolean;
  readonly key?: string;
  readonly yes?: boolean;
}

export function register(program: Command): void {
  const snapshot = program.command('snapshot').description('what a disk held at one moment');
  registerCreate(snapshot, 'snapshot', {
    description: 'keep what a disk holds now, in use or not; of an encrypted disk it is encrypted, always',
    argument: '<disk|device>',
    example: 'sealdisk snapshot create data --name monday',
  });
  registerList(snapshot, 'snapshot');
  registerCopy(snapshot, 'snapshot', 'sealdisk snapshot copy monday --name monday-sealed --key alias/bar');
  registerDiff(snapshot);
  registerRestore(snapshot);
  registerDelete(snapshot, 'snapshot', 'sealdisk snapshot delete monday');
}

/** Adds the command `create`, which takes one of what the words say. */
export function registerCreate(
  group: Command,
  kind: 'snapshot' | 'image',
  { description, argument, example }: { description: string; argument: string; example: string },
): void {
  const command = group
    .command('create')
    .description(description)
    .argument(argument, OBJECT_OR_DEVICE)
    .option('--name <name>', 'its name in the pool, or a path with a slash; default: DISK@TIME')
    .option('--tag <key=value>', 'a tag; may be given again', collectTag, {})
    .option('--freeze', 'freeze the file system that is mounted on it meanwhile, so that it is consistent');
  common(command, example).action(
    action(async (word: string, options: Options) => {
      const made = await takeOf(kind, word, options);
      if (!options.json && made.taken) printLine(made.taken);
      report(made.object, options);
    }),
  );
}

/** A snapshot or an image of a disk, in service or not; and what is to be told of how it was taken. */
async function takeOf(
  kind: 'snapshot' | 'image',
  word: string,
  options: Options,
): Promise<{ object: StoredObject; taken: string | undefined }> {
  const target = await objectOrDevice(word, options);
  let taken: string | undefined;
  const object = await withProgress(word, options.json ?? false, (bulk) =>
    snapshotOf(target, {
      kind,
      placeOf: (encrypted, disk) => placeOf(options.name ?? `${disk}@${stamp()}`, kind, encrypted, options),
      tags: options.tag,
      freeze: options.freeze ?? false,
      environment: environmentOf(options),
      onTaken: (heldMs, how) => {
        const ways = { reflink: 'its blocks are shared', copy: 'it is copied while the disk goes on' };
        taken = `I/O was held for ${Math.ceil(heldMs)} ms; ${ways[how]}`;
      },
      bulk,
    }),
  );
  return { object, taken };
}

/** To the second, as a file name may have it. */
const stamp = (): string => new Date().toISOString().slice(0, 19).replaceAll(':', '-');

/** Where an object of that name is made, and what it is called then. */
export function placeOf(word: string, kind: ObjectKind, encrypted: boolean, options: CommonOptions): Placed {
  const path = placeFor(word, { poolDir: resolve(options.pool), kind, encrypted });
  return { path, name: word.includes('/') ? '' : word };
}

export function registerList(group: Command, kind: ObjectKind): void {
  const command = group.command('list').description(`the ${kind}s of the pool`);
  common(command, `sealdisk ${kind} list`).action(
    action(async (options: CommonOptions) => printObjects(kind, options)),
  );
}

/** Adds the command `copy` for objects of the kind. */
export function registerCopy(group: Command, kind: ObjectKind, example: string): void {
  const command = group
    .command('copy')
    .description('a copy under the same key shares what it holds; under another key it is enciphered anew')
    .argument(`<${kind}>`, OBJECT)
    .requiredOption('--name <name>', 'name of the copy in the pool, or a path with a slash')
    .option('--key <uri>', `the key that wraps its data key; of a plain ${kind} it makes an encrypted one`)
    .option('--tag <key=value>', 'a tag; may be given again', collectTag, {})
    .addHelpText('after', '\nWhat is encrypted stays encrypted: there is no copy back to plain.');
  common(command, example).action(
    action(async (word: string, options: Options & { name: string }) => {
      report(await copyOf(await ofKind(word, kind, options), options), options);
    }),
  );
}

/** A copy of the same kind, as the options say. */
const copyOf = (source: StoredObject, options: Options & { name: string }): Promise<StoredObject> =>
  withProgress(source.path, options.json ?? false, (bulk) =>
    makeFrom(source, {
      kind: source.label.object.kind,
      placeOf: (encrypted) => placeOf(options.name, source.label.object.kind, encrypted, options),
      tags: options.tag,
      keyUri: options.key,
      environment: environmentOf(options),
      bulk,
    }),
  );

/** The object of that name, which must be of the kind. */
export async function ofKind(word: string, kind: ObjectKind, options: CommonOptions): Promise<StoredObject> {
  const object = await readObject(await objectPath(word, options));
  const found = object.label.object.kind;
  if (found !== kind) fail('USAGE', { what: `${object.path} is of the kind ${found}, expected ${kind}` });
  return object;
}

function registerRestore(group: Command): void {
  const command = group
    .command('restore')
    .description('put what a snapshot holds back into a disk that is not in service; asks first')
    .argument('<snapshot>', OBJECT)
    .argument('<disk>', OBJECT)
    .option('--yes', 'do not ask');
  common(command, 'sealdisk snapshot restore monday data').action(
    action(async (from: string, to: string, options: Options) => {
      const snapshot = await ofKind(from, 'snapshot', options);
      const disk = await ofKind(to, 'disk', options);
      await confirm('snapshot restore', `Lose what ${disk.path} holds now?`, options.yes ?? false);
      report(await restoreFrom(snapshot, disk, environmentOf(options)), options);
    }),
  );
}
