/** sealdisk encrypt: what is plain becomes an encrypted disk. There is no way back, and no command for one. */

import { basename } from 'node:path';
import { type Command, Option } from 'commander';
import { encryptTo } from '../disk/encrypt-to.js';
import { fail } from '../errors.js';
import { DEFAULT_KEY_URI } from '../kms/local/ref.js';
import { openProvider } from '../kms/registry.js';
import { mayMake } from '../pool/may.js';
import { action, type CommonOptions, common, environmentOf, OBJECT, objectPath } from './context.js';
import { collectTag } from './key-labels.js';
import { printJson, printLine } from './output.js';
import { withProgress } from './progress.js';
import { placeOf } from './snapshot.js';
import { formatSize } from './units.js';

const KMS_TIMEOUT_MS = 30_000;

interface Options extends CommonOptions {
  readonly to?: string;
  readonly key: string;
  readonly sectorSize?: '512' | '4096';
  readonly name?: string;
  readonly tag: Record<string, string>;
  readonly discard?: boolean;
}

const MEANING = `
With --to the plain file stays as it is: take it away yourself when you have seen that the disk is
good. What was ever written in the clear may still lie on the medium (freed blocks of the file
system, spare blocks of an SSD). The way is one-way: no command makes a disk plain again.`;

/** Left to the size of the plain file where it is not asked for. */
function sectorSizeOf({ sectorSize }: Options): { sectorSize?: 512 | 4096 } {
  if (sectorSize === undefined) return {};
  return { sectorSize: sectorSize === '512' ? 512 : 4096 };
}

export function register(program: Command): void {
  const command = program
    .command('encrypt')
    .description('make an encrypted disk of a plain file or block device')
    .argument('<plain>', `the plain disk: ${OBJECT}`)
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
    .addHelpText('after', MEANING);
  common(command, 'sealdisk encrypt data.img --to /var/lib/sealdisk/data.disk --key alias/bar').action(
    action(async (plain: string, options: Options) => {
      if (options.to === undefined) fail('USAGE', { what: 'expected --to with the disk to be made' });
      const target = {
        ...placeOf(options.to, 'disk', true, options),
        ...(options.name === undefined ? {} : { name: options.name }),
        tags: options.tag,
        discard: options.discard ?? false,
        ...sectorSizeOf(options),
      };
      const path = await objectPath(plain, options);
      const toBe = { ...target, kind: 'disk', source: '', keyUri: options.key } as const;
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
