/** sealdisk attach: a disk as /dev/nbdN. */

import { resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { attach } from '../attach/attachments.js';
import { indexOf } from '../attach/kernel-device.js';
import { canonicalKeyUri } from '../kms/registry.js';
import {
  action,
  type CommonOptions,
  checkLeaseOptions,
  common,
  type LeaseOptions,
  leaseOptions,
  OBJECT,
  objectPath,
} from './context.js';
import { printJson, printLine } from './output.js';

interface Options extends CommonOptions, LeaseOptions {
  readonly device?: number;
  readonly standby: boolean;
}

function parseDevice(text: string): number {
  const index = indexOf(text);
  if (index === undefined) throw new InvalidArgumentError('Expected /dev/nbdN.');
  return index;
}

export function register(program: Command): void {
  const command = program
    .command('attach')
    .description('unwrap the key and connect the disk to the kernel; prints the device')
    .argument('<disk>', OBJECT)
    .option('--device <path>', 'the device to use, as /dev/nbd0; else a free one', parseDevice)
    .option('--no-standby', 'no second server waits for the first to die: 10 MB less, a slower takeover');
  common(leaseOptions(command), 'sealdisk attach /var/lib/sealdisk/data.disk --on-key-loss hang').action(
    action(async (disk: string, options: Options) => {
      checkLeaseOptions(options);
      const state = await attach({
        path: await objectPath(disk, options),
        poolDir: resolve(options.pool),
        index: options.device ?? null,
        readOnly: options.readOnly ?? false,
        direct: options.direct ?? false,
        discard: options.discard ?? false,
        expectedKey: options.key === undefined ? null : canonicalKeyUri(options.key),
        onKeyLoss: options.onKeyLoss,
        checkIntervalMs: options.keyCheckInterval,
        graceMs: options.kmsGrace,
        kmsWaitMs: options.kmsWait,
        standby: options.standby,
        logLevel: options.logLevel,
      });
      const { device, serverPid, keyUri, sizeBytes } = state;
      if (options.json) printJson({ device, uuid: state.request.uuid, serverPid, keyUri, sizeBytes });
      else printLine(`${device}`);
    }),
  );
}
