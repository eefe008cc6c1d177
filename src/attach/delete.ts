/** Deleting an object: what is in service is refused, by any name that it has. */

import { deleteObject } from '../disk/delete.js';
import { readObject, type StoredObject } from '../disk/object.js';
import { fail } from '../errors.js';
import type { ProviderEnvironment } from '../kms/provider.js';
import { mayTouch } from '../pool/may.js';
import { type Attachment, find } from './attachments.js';
import { devicePath, findDevice } from './kernel-device.js';

/** The object at `path`, if it may be deleted. DISK_ATTACHED, DISK_NOT_FOUND, LUKS2_*. */
export async function deletable(path: string): Promise<StoredObject> {
  const object = await readObject(path);
  refuseInService(object, await find(object.uuid));
  return object;
}

/** DISK_ATTACHED for one that is served, or whose device waits for another server. */
export function refuseInService({ path, uuid }: StoredObject, attachment: Attachment | undefined): void {
  const left = findDevice(uuid);
  const where = attachment?.device ?? attachment?.address ?? (left === undefined ? null : devicePath(left));
  if (where !== null) fail('DISK_ATTACHED', { path, where });
}

const ACTION = { disk: 'ecs:DeleteDisk', snapshot: 'ecs:DeleteSnapshot', image: 'ecs:DeleteImage' } as const;

/** Deletes it. POLICY_DENIED, DISK_ATTACHED, DISK_IN_USE, DISK_PLAIN, DISK_IO. */
export async function remove(
  path: string,
  cryptoErase: boolean,
  environment: ProviderEnvironment,
): Promise<StoredObject> {
  const object = await deletable(path);
  await mayTouch(ACTION[object.label.object.kind], object, environment);
  await deleteObject(object, cryptoErase);
  return object;
}
