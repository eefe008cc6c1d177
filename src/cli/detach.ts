/** sealdisk detach: the end of an attachment. */

import type { Command } from 'commander';
import { detach } from '../attach/attachments.js';
import { action, type CommonOptions, common, OBJECT_OR_DEVICE, objectOrDevice } from './context.js';
import { printJson, printLine } from './output.js';

export function register(program: Command): void {
  const command = program
    .command('detach')
    .description('disconnect the device, sync the disk and wipe its key')
    .argument('<device|disk>', OBJECT_OR_DEVICE)
    .option('--force', 'even while it is mounted or open: parked I/O fails');
  common(command, 'sealdisk detach /dev/nbd0').action(
    action(async (target: string, options: CommonOptions & { force?: boolean }) => {
      const { device, uuid } = await detach(await objectOrDevice(target, options), options.force ?? false);
      if (options.json) printJson({ detached: device, uuid });
      else printLine(`${device} detached`);
    }),
  );
}
