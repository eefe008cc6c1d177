/** sealdisk list: the disks in service on this machine. */

import type { Command } from 'commander';
import { list } from '../attach/attachments.js';
import { action, type CommonOptions, common } from './context.js';
import { printJson, printTable } from './output.js';
import { formatSize } from './units.js';

export function register(program: Command): void {
  const command = program
    .command('list')
    .description('the disks that are attached or served on this machine');
  common(command, 'sealdisk list --json').action(
    action(async (options: CommonOptions) => {
      const attachments = await list();
      if (options.json) return printJson(attachments);
      printTable(
        ['DEVICE', 'GATE', 'SIZE', 'KEY', 'SERVER', 'DISK'],
        attachments.map((one) => [
          one.device ?? one.address ?? '-',
          one.gate,
          formatSize(BigInt(one.sizeBytes)),
          one.keyUri,
          one.serverPid === null ? '-' : `${one.serverPid}`,
          one.path,
        ]),
      );
    }),
  );
}
