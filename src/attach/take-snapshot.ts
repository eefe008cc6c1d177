/** A snapshot of a disk, in service or not. */

import { basename } from 'node:path';
import { nameOf, readObject, type StoredObject } from '../disk/object.js';
import { fail } from '../errors.js';
import type { ProviderEnvironment } from '../kms/provider.js';
import { makeFrom, type Placed } from '../pool/from.js';
import { find } from './attachments.js';
import { indexOf } from './kernel-device.js';

export interface SnapshotWish {
  /** Where it is made and what it is called, given whether it is encrypted and what the disk is called. */
  placeOf(encrypted: boolean, diskName: string): Placed;
  readonly tags: Readonly<Record<string, string>>;
  /** Freeze the file system that is mounted on the device meanwhile. */
  readonly freeze: boolean;
  readonly environment: ProviderEnvironment;
}

/** Makes the snapshot of the disk at `target`, a path or /dev/nbdN. DISK_*, ATTACH_*, LUKS2_* or KMS_*; then none is there. */
export async function snapshotOf(target: string, wish: SnapshotWish): Promise<StoredObject> {
  const attachment = await find(target);
  if (!attachment && indexOf(target) !== undefined) fail('ATTACH_NOT_ATTACHED', { target });
  const disk = await readObject(attachment?.path ?? target);
  const { kind } = disk.label.object;
  if (kind !== 'disk') fail('USAGE', { what: `${disk.path} is of the kind ${kind}, expected a disk` });
  return makeFrom(disk, {
    kind: 'snapshot',
    placeOf: (encrypted) => wish.placeOf(encrypted, basename(nameOf(disk))),
    tags: wish.tags,
    keyUri: undefined,
    environment: wish.environment,
  });
}
