/** sealdisk snapshot diff: what a backup has to read. */

import type { Command } from 'commander';
import { changedRanges } from '../disk/diff.js';
import { readObject } from '../disk/object.js';
import { action, type CommonOptions, common, OBJECT, objectPath } from './context.js';
import { printJson, printLine, printNote } from './output.js';
import { formatSize } from './units.js';

/** As wide as nbdinfo --map prints them. */
const WIDTH = 12;

export function registerDiff(group: Command): void {
  const command = group
    .command('diff')
    .description('offset and length of each range in which the newer differs from the older, in bytes')
    .argument('<older>', OBJECT)
    .argument('<newer>', `${OBJECT}; or a disk that was made of the older`)
    .addHelpText('after', '\nNo key is asked for: two of one chain have the same one.');
  common(command, 'sealdisk snapshot diff monday tuesday').action(
    action(async (from: string, to: string, options: CommonOptions) => {
      const older = await readObject(await objectPath(from, options));
      const newer = await readObject(await objectPath(to, options));
      const ranges = await changedRanges(older, newer);
      if (options.json) return printJson(ranges);
      const cell = (bytes: bigint) => `${bytes}`.padStart(WIDTH);
      for (const { offsetBytes, sizeBytes } of ranges) printLine(`${cell(offsetBytes)}${cell(sizeBytes)}`);
      const changed = ranges.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0n);
      printNote(`${formatSize(changed)} of ${formatSize(newer.sizeBytes)} differ`);
    }),
  );
}
