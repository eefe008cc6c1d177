/** sealdisk encrypt: what is plain becomes an encrypted disk. There is no way back, and no command for one. */

import { basename } from 'node:path';
import { type Command, Option } from 'commander';
import { encryptTo } from '../disk/encrypt-to.js';
import { sourceIdOf } from '../disk/plain.js';
import { fail } from '../errors.js';
import { DEFAULT_KEY_URI } from '../kms/local/ref.js';
import { openProvider } from '../kms/registry.js';
import { mayMake } from '../pool/may.js';
import { action, common, countUpTo, environmentOf, OBJECT, objectPath } from './context.js';
import { type AllOptions, runAll } from './encrypt-all.js';
import { collectTag } from './key-labels.js';
import { printJson, printLine } from './output.js';
import { withProgress } from './progress.js';
import { placeOf } from './snapshot.js';
import { formatSize } from './units.js';

const KMS_TIMEOUT_MS = 30_000;

interface Options extends AllOptions {
  readonly to?: string;
  readonly all?: boolean;
  readonly sectorSize?: '512' | '4096';
  readonly name?: string;
  readonly tag: Record<string, string>;
}

const PARALLEL_MAX = 64;

const MEANING = `
With --to the plain file stays as it is: take it away yourself when you have seen that the disk is
good. What was ever written in the clear may still lie on the medium (freed blocks of the file
system, spare blocks of an SSD). The way is one-way: no command makes a disk plain again.

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
  const misplaced = (['to', 'sectorSize', 'name'] as const).find((each) => options[each] !== undefined);
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
      if (options.to === undefined) fail('USAGE', { what: 'expected --to with the disk to be made' });
      const path = await objectPath(plain, options);
      const target = {
        ...placeOf(options.to, 'disk', true, options),
        ...(options.name === undefined ? {} : { name: options.name }),
        tags: options.tag,
        discard: options.discard ?? false,
        source: sourceIdOf(path),
        ...sectorSizeOf(options),
      };
      const toBe = { ...target, kind: 'disk', keyUri: options.key } as const;
      await mayMake(
        'ecs:CreateDisk',
        { ...toBe, name: target.name || basename(target.path) },
        environmentOf(options),
      );
      const provider = await openProvider(options.key, { ...environmentOf(options), namedByOwner: true });
      try {
        const made = await withProgress(options.to, options.json ?? false, (how) =>
          encryptTo(path, target, provider, { ...how, timeoutMs: KMS_TIMEOUT_MS }),
        );
        if (options.json) printJson(made);
        else printLine(`${made.path}: ${formatSize(made.sizeBytes)}, uuid ${made.uuid}, key ${made.keyUri}`);
      } finally {
        await provider.close();
      }
    }),
  );
}
