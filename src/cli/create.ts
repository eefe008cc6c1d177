/** sealdisk create: a new disk. */

import { basename } from 'node:path';
import { type Command, Option } from 'commander';
import { createDisk } from '../disk/create.js';
import { DEFAULT_KEY_URI } from '../kms/local/ref.js';
import { openProvider } from '../kms/registry.js';
import { authorize } from '../policy/authorize.js';
import { currentCaller } from '../policy/caller.js';
import type { Subject } from '../policy/subject.js';
import { absolute, action, argument, type CommonOptions, common, environmentOf } from './context.js';
import { collectTag } from './key-labels.js';
import { printJson, printLine } from './output.js';
import { formatSize, parseSize } from './units.js';

const KMS_TIMEOUT_MS = 30_000;

interface Options extends CommonOptions {
  readonly size: bigint;
  readonly key: string;
  readonly sectorSize: '512' | '4096';
  readonly name: string;
  readonly tag: Record<string, string>;
  readonly discard?: boolean;
}

export function register(program: Command): void {
  const command = program
    .command('create')
    .description('make an encrypted disk: a LUKS2 file whose data key is wrapped by a KMS key')
    .argument('<file>', 'where the disk is made; it must not exist')
    .requiredOption('--size <size>', 'usable size, as in 64M or 10G', argument(parseSize))
    .option('--key <uri>', 'key that wraps the data key', DEFAULT_KEY_URI)
    .addOption(
      new Option('--sector-size <bytes>', 'encryption sector').choices(['512', '4096']).default('4096'),
    )
    .option('--name <name>', 'a name for people', '')
    .option('--tag <key=value>', 'a tag; may be given again', collectTag, {})
    .option('--discard', 'let the disk have holes: what was never written reads as zeros');
  common(command, 'sealdisk create /var/lib/sealdisk/data.disk --size 10G --key alias/bar').action(
    action(async (file: string, options: Options) => {
      const environment = { ...environmentOf(options), namedByOwner: true };
      await authorize(currentCaller(), 'ecs:CreateDisk', subjectOf(file, options), environment);
      const provider = await openProvider(options.key, environment);
      try {
        const made = await createDisk(
          {
            path: absolute(file),
            sizeBytes: options.size,
            sectorSize: options.sectorSize === '512' ? 512 : 4096,
            name: options.name,
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
    }),
  );
}

const subjectOf = (file: string, { name, key, tag }: Options): Subject => ({
  kind: 'disk',
  id: '',
  name: name || basename(file),
  key: { uri: key },
  system: false,
  tags: tag,
});
