/** sealdisk encrypt: what is plain becomes an encrypted disk. There is no way back, and no command for one. */

import { basename } from 'node:path';
import { type Command, Option } from 'commander';
import { encryptTo } from '../disk/encrypt-to.js';
import { encryptInPlace } from '../disk/in-place.js';
import { type PlainLabel, readLabel, readPlain, sourceIdOf } from '../disk/plain.js';
import { fail, isFailure } from '../errors.js';
import { DEFAULT_KEY_URI } from '../kms/local/ref.js';
import { freeSecret } from '../kms/local/secret.js';
import { openProvider } from '../kms/registry.js';
import { mayMake, type ToBe } from '../pool/may.js';
import { action, argument, common, countUpTo, environmentOf, OBJECT, objectPath } from './context.js';
import { KMS_TIMEOUT_MS, keysOf, printConverted } from './convert-common.js';
import { type AllOptions, runAll } from './encrypt-all.js';
import { collectTag } from './key-labels.js';
import { withProgress } from './progress.js';
import { readPassphrase } from './recovery-passphrase.js';
import { placeOf } from './snapshot.js';
import { parseSize } from './units.js';

interface Options extends AllOptions {
  readonly to?: string;
  readonly inPlace?: boolean;
  readonly reduceDeviceSize?: bigint;
  readonly passphraseFile?: string;
  readonly all?: boolean;
  readonly sectorSize?: '512' | '4096';
  readonly name?: string;
  readonly tag: Record<string, string>;
}

const PARALLEL_MAX = 64;

const MEANING = `
With --to the plain file stays as it is: take it away yourself when you have seen that the disk is
good. With --in-place it becomes the disk, 16 MiB longer; it can be killed at any moment, and the
same command goes on. What was ever written in the clear may still lie on the medium (freed blocks
of the file system, spare blocks of an SSD). The way is one-way: no command makes a disk plain.

With --all each plain disk of the pool becomes an encrypted one beside it, which takes its name over:
the plain one is called NAME.plain then, its file stays. One that fails does not stop the others. What
has been encrypted by an earlier run, ended or killed, is passed over.`;

/** Left to the size of the plain file where it is not asked for. */
function sectorSizeOf({ sectorSize }: Options): { sectorSize?: 512 | 4096 } {
  if (sectorSize === undefined) return {};
  return { sectorSize: sectorSize === '512' ? 512 : 4096 };
}

/** USAGE where --all is given what is one disk's. */
function checked(plain: string | undefined, options: Options): AllOptions {
  const misplaced = (
    ['to', 'inPlace', 'reduceDeviceSize', 'passphraseFile', 'sectorSize', 'name'] as const
  ).find((each) => options[each] !== undefined);
  const what = plain ?? misplaced ?? Object.keys(options.tag)[0];
  if (what !== undefined)
    fail('USAGE', { what: `--all is for every plain disk, there is no ${what} to give` });
  return options;
}

export function register(program: Command): void {
  const command = program
    .command('encrypt')
    .description('make an encrypted disk of a plain file or block device')
    .argument('[plain]', `the plain disk: ${OBJECT}`)
    .option('--to <disk>', 'the disk to be made: its name in the pool, or a path with a slash')
    .option('--in-place', 'encrypt it where it lies, or go on with that after a crash')
    .option(
      '--reduce-device-size <size>',
      'with --in-place: what you made free at the end of a block device, at least 32M',
      argument(parseSize),
    )
    .option(
      '--passphrase-file <file>',
      'with --in-place: its first line becomes a recovery passphrase, by which cryptsetup can finish, too',
    )
    .option('--key <uri>', 'key that wraps the data key', DEFAULT_KEY_URI)
    .addOption(
      new Option(
        '--sector-size <bytes>',
        'encryption sector: 512 by default, as the plain disk had it',
      ).choices(['512', '4096']),
    )
    .option('--name <name>', 'a name for people, when it is not to be that of the file')
    .option('--tag <key=value>', 'a tag; may be given again', collectTag, {})
    .option('--discard', 'let the disk have holes: those of the plain file stay holes')
    .option('--all', 'every plain disk of the pool that is not in service')
    .option('--match <key=value>', '--all: only disks with this tag; may be given again', collectTag, {})
    .option('--parallel <n>', '--all: how many at a time', countUpTo(PARALLEL_MAX), 2)
    .option('--dry-run', '--all: only show what would be done')
    .option('--report <file>', '--all: say there, in JSON, what became of each disk')
    .option('--delete-plain', '--all: delete each plain disk when it was compared; asks first')
    .option('--yes', 'do not ask')
    .addHelpText('after', MEANING);
  common(command, 'sealdisk encrypt data.img --to /var/lib/sealdisk/data.disk --key alias/bar').action(
    action(async (plain: string | undefined, options: Options) => {
      if (options.all) return runAll(checked(plain, options));
      if (plain === undefined) fail('USAGE', { what: 'expected a plain disk, or --all' });
      if ((options.to === undefined) !== (options.inPlace === true)) {
        fail('USAGE', { what: 'expected --to with the disk to be made, or --in-place' });
      }
      if (options.to === undefined) await inPlace(plain, options);
      else await copy(plain, options.to, options);
    }),
  );
}

async function copy(plain: string, to: string, options: Options): Promise<void> {
  if (options.reduceDeviceSize !== undefined || options.passphraseFile !== undefined) {
    fail('USAGE', { what: '--reduce-device-size and --passphrase-file go with --in-place' });
  }
  const path = await objectPath(plain, options);
  const target = {
    ...placeOf(to, 'disk', true, options),
    ...(options.name === undefined ? {} : { name: options.name }),
    tags: options.tag,
    discard: options.discard ?? false,
    source: sourceIdOf(path),
    ...sectorSizeOf(options),
  };
  await mayBe({ ...target, name: target.name || basename(target.path) }, options);
  const provider = await openProvider(options.key, { ...environmentOf(options), namedByOwner: true });
  try {
    const made = await withProgress(to, options.json ?? false, (how) =>
      encryptTo(path, target, provider, { ...how, timeoutMs: KMS_TIMEOUT_MS }),
    );
    printConverted(made, options);
  } finally {
    await provider.close();
  }
}

async function inPlace(word: string, options: Options): Promise<void> {
  if (options.discard)
    fail('USAGE', { what: '--discard goes with --to: what is encrypted in place has no holes' });
  const path = await objectPath(word, options);
  const plain = await plainAt(path);
  const named = namedAs(plain, options);
  await mayBe(named, options);
  const passphrase =
    options.passphraseFile === undefined ? undefined : await readPassphrase(options.passphraseFile, true);
  const { reduceDeviceSize } = options;
  const target = {
    ...named,
    ...sectorSizeOf(options),
    ...(reduceDeviceSize === undefined ? {} : { reduceBytes: reduceDeviceSize }),
    ...(passphrase ? { passphrase } : {}),
  };
  try {
    const made = await withProgress(word, options.json ?? false, (how) =>
      encryptInPlace(path, target, keysOf(options), { ...how, timeoutMs: KMS_TIMEOUT_MS }),
    );
    printConverted(made, options);
  } finally {
    if (passphrase) freeSecret(passphrase);
  }
}

/** Who the plain file is; what was cut before it had a header still has its label. */
async function plainAt(path: string): Promise<PlainLabel | undefined> {
  try {
    return await readPlain(path);
  } catch (error) {
    if (isFailure(error, 'CONVERT_UNFINISHED')) return readLabel(path);
    throw error;
  }
}

/** An object of the pool stays the object that it is: its UUID, and so its id, its name, its tags. */
function namedAs(plain: PlainLabel | undefined, { name, tag }: Options) {
  const { label, uuid } = plain ?? {};
  return {
    name: name ?? label?.name ?? '',
    tags: { ...label?.tags, ...tag },
    source: label?.source ?? '',
    ...(uuid === undefined ? {} : { uuid }),
  };
}

/** May the caller have such a disk? POLICY_DENIED. */
const mayBe = (disk: Pick<ToBe, 'name' | 'tags' | 'source'>, options: Options): Promise<void> =>
  mayMake('ecs:CreateDisk', { ...disk, kind: 'disk', keyUri: options.key }, environmentOf(options));
