/** sealdisk resize: a disk larger or smaller, in service or not. */

import type { Command } from 'commander';
import { resize } from '../attach/resize.js';
import type { SizeChange } from '../disk/resize.js';
import {
  action,
  argument,
  type CommonOptions,
  common,
  environmentOf,
  OBJECT_OR_DEVICE,
  objectOrDevice,
} from './context.js';
import { printJson, printLine } from './output.js';
import { formatSize, parseSize } from './units.js';

interface Options extends CommonOptions {
  readonly size?: SizeChange;
  readonly force?: boolean;
}

/** "10G", "+1G" or "-1G". SIZE_SYNTAX. */
function parseChange(text: string): SizeChange {
  const [, sign = '', size = ''] = /^\s*([+-]?)(.*)$/s.exec(text) ?? [];
  const bytes = parseSize(size);
  if (sign === '') return { kind: 'to', bytes: `${bytes}` };
  return { kind: 'by', bytes: `${sign === '-' ? -bytes : bytes}` };
}

export function register(program: Command): void {
  const command = program
    .command('resize')
    .description('make a disk larger, attached and mounted too, or smaller')
    .argument('<disk|device>', OBJECT_OR_DEVICE)
    .option(
      '--size <size>',
      'usable size, as in 10G, +1G or -1G; else what the file or block device has by now',
      argument(parseChange),
    )
    .option('--force', 'make it smaller: what stands behind the new end is gone');
  common(command, 'sealdisk resize data.disk --size +1G && resize2fs /dev/nbd0').action(
    action(async (target: string, options: Options) => {
      const done = await resize(
        await objectOrDevice(target, options),
        options.size ?? { kind: 'fit' },
        options.force ?? false,
        environmentOf(options),
      );
      if (options.json) return printJson(done);
      printLine(
        `${done.path}: ${formatSize(BigInt(done.sizeBytes))}, was ${formatSize(BigInt(done.wasBytes))}`,
      );
    }),
  );
}
