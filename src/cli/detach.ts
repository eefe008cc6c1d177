/** sealdisk detach: the end of an attachment. */

import type { Command } from 'commander';
import { detach, find } from '../attach/attachments.js';
import { readObject } from '../disk/object.js';
import { mayTouch } from '../pool/may.js';
import {
  action,
  type CommonOptions,
  common,
  environmentOf,
  OBJECT_OR_DEVICE,
  objectOrDevice,
} from './context.js';
import { printJson, printLine } from './output.js';

export function register(program: Command): void {
  const command = program
    .command('detach')
    .description('disconnect the device, sync the disk and wipe its key')
    .argument('<device|disk>', OBJECT_OR_DEVICE)
    .option('--force', 'even while it is mounted or open: parked I/O fails');
  common(command, 'sealdisk detach /dev/nbd0').action(
    action(async (target: string, options: CommonOptions & { force?: boolean }) => {
      const named = await objectOrDevice(target, options);
      const attachment = await find(named);
      if (attachment) {
        await mayTouch('ecs:DetachDisk', await readObject(attachment.path), environmentOf(options));
      }
      const { device, uuid } = await detach(named, options.force ?? false);
      if (options.json) printJson({ detached: device, uuid });
      else printLine(`${device} detached`);
    }),
  );
}
