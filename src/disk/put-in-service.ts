/** How any object, encrypted or plain, is put into service. */

import type { GateState } from '../engine/engine.js';
import { fail } from '../errors.js';
import type { Log } from '../log.js';
import type { InService } from './in-service.js';
import type { KeyChecks } from './key-checks.js';
import type { StoredObject } from './object.js';
import { type KeyChoice, providerFor } from './provider.js';
import { ready } from './ready.js';
import { ServedDisk, type ServedDiskOptions } from './served-disk.js';
import { ServedPlain } from './served-plain.js';

/** Snapshots and images are what they were: nobody writes to them. */
export const servedReadOnly = ({ label }: StoredObject, asked: boolean): boolean =>
  asked || label.object.kind !== 'disk';

/** Puts the object into service; `options.readOnly` is as `servedReadOnly` says. As `providerFor`, `ready`, `ServedDisk.open`. */
export async function putInService(
  object: StoredObject,
  choice: KeyChoice,
  options: ServedDiskOptions,
  log: Log,
  onGateChange: (gate: GateState) => void,
  checks?: KeyChecks,
): Promise<InService> {
  if (object.encrypted === undefined) {
    const { expectedKey } = choice;
    if (expectedKey !== null) {
      fail('DISK_PLAIN', { path: object.path, what: `no key wraps it, --key names ${expectedKey}` });
    }
    return new ServedPlain(object, options, log);
  }
  const provider = await providerFor(object.encrypted, choice, log);
  const disk = await ready(object.encrypted, provider, options, log);
  return ServedDisk.open(disk, provider, options, log, onGateChange, checks);
}
