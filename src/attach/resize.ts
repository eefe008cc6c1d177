/**
 * Another size for a disk, wherever it is: by the server that serves it, else here.
 *
 * Kept true: a disk that a kernel device is configured for is not made smaller while no server answers; the file's lock
 * keeps everybody else away from one that is resized here.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { readObject } from '../disk/object.js';
import { type Resized, resizeDetached, type SizeChange } from '../disk/resize.js';
import { fail, isFailure } from '../errors.js';
import type { ProviderEnvironment } from '../kms/provider.js';
import { mayTouch } from '../pool/may.js';
import { find } from './attachments.js';
import { askControl } from './control.js';
import { devicePath, findDevice, indexOf } from './kernel-device.js';

const RESIZE_TIMEOUT_MS = 60_000;
/** How long a server that is just starting, or being replaced, may take to answer. */
const RETURN_TIMEOUT_MS = 10_000;

/** Resizes the disk at `target`, a path or /dev/nbdN. Fails with DISK_*, LUKS2_*, KERNEL_NETLINK or ATTACH_*. */
export async function resize(
  target: string,
  change: SizeChange,
  force: boolean,
  environment: ProviderEnvironment,
): Promise<Resized> {
  const attachment = await find(target);
  if (!attachment && indexOf(target) !== undefined) fail('ATTACH_NOT_ATTACHED', { target });
  const path = attachment?.path ?? target;
  const object = await readObject(path);
  await mayTouch('ecs:ResizeDisk', object, environment);
  const { uuid } = object;
  const endsMs = performance.now() + RETURN_TIMEOUT_MS;
  for (;;) {
    const done = await askControl<Resized>(uuid, { verb: 'resize', change, force }, RESIZE_TIMEOUT_MS);
    if (done !== undefined) return done;
    try {
      const left = findDevice(uuid);
      const user = left === undefined ? undefined : `${devicePath(left)}, whose server does not answer`;
      return await resizeDetached(path, change, force, user);
    } catch (error) {
      if (!isFailure(error, 'DISK_IN_USE') || performance.now() >= endsMs) throw error;
    }
    await delay(100);
  }
}
