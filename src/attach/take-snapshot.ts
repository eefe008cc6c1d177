/** A snapshot of a disk, in service or not; an image is taken the same way, of a snapshot, too. */

import { basename } from 'node:path';
import type { BulkOptions } from '../disk/bulk.js';
import { type Bring, bringDetached } from '../disk/derive.js';
import { nameOf, readObject, type StoredObject } from '../disk/object.js';
import { fail } from '../errors.js';
import type { ProviderEnvironment } from '../kms/provider.js';
import { makeFrom, type Placed } from '../pool/from.js';
import { type Attachment, find } from './attachments.js';
import { freeze } from './freeze.js';
import { indexOf, mountsOf } from './kernel-device.js';
import { snapshotServed } from './snapshot.js';

export interface SnapshotWish {
  readonly kind: 'snapshot' | 'image';
  /** Where it is made and what it is called, given whether it is encrypted and what the disk is called. */
  placeOf(encrypted: boolean, diskName: string): Placed;
  readonly tags: Readonly<Record<string, string>>;
  /** Freeze the file system that is mounted on the device meanwhile. */
  readonly freeze: boolean;
  readonly environment: ProviderEnvironment;
  /** The moment is over: how long the I/O of a disk in service was held, and whether the file system shares its blocks. */
  readonly onTaken: (heldMs: number, how: 'reflink' | 'copy') => void;
  readonly bulk: Omit<BulkOptions, 'timeoutMs'>;
}

/** Makes it of the object at `target`, a path or /dev/nbdN. USAGE for another kind than it is taken of, DISK_*, ATTACH_*, LUKS2_* or KMS_*; then none is there. */
export async function snapshotOf(target: string, wish: SnapshotWish): Promise<StoredObject> {
  const attachment = await find(target);
  if (!attachment && indexOf(target) !== undefined) fail('ATTACH_NOT_ATTACHED', { target });
  const disk = await readObject(attachment?.path ?? target);
  checkKind(disk, wish.kind);
  return makeFrom(disk, {
    kind: wish.kind,
    placeOf: (encrypted) => wish.placeOf(encrypted, basename(nameOf(disk))),
    tags: wish.tags,
    keyUri: undefined,
    environment: wish.environment,
    bring: attachment ? bringServed(attachment, wish) : bringDetached,
    bulk: wish.bulk,
  });
}

function checkKind({ path, label }: StoredObject, wanted: SnapshotWish['kind']): void {
  const { kind } = label.object;
  const kinds = wanted === 'image' ? ['disk', 'snapshot'] : ['disk'];
  if (kinds.includes(kind)) return;
  fail('USAGE', { what: `${path} is of the kind ${kind}, expected a ${kinds.join(' or ')}` });
}

const bringServed =
  ({ device }: Attachment, wish: SnapshotWish): Bring =>
  async ({ uuid, path }, toPath) => {
    const index = device === null ? undefined : indexOf(device);
    const mounts = wish.freeze && index !== undefined ? mountsOf(index) : [];
    if (wish.freeze && mounts.length === 0) {
      fail('DISK_FREEZE', { mountPoint: path, why: 'no file system on it is mounted on this machine' });
    }
    const thaws: (() => Promise<void>)[] = [];
    const thaw = async () => void (await Promise.all(thaws.map((one) => one())));
    try {
      for (const mount of mounts) thaws.push(await freeze(mount));
      await snapshotServed(uuid, toPath, {
        onTaken: (heldMs, how) => {
          void thaw();
          wish.onTaken(heldMs, how);
        },
        onProgress: ({ copiedBytes, totalBytes }) =>
          wish.bulk.onProgress?.({ phase: 'copy', doneBytes: copiedBytes, totalBytes }),
        ...(wish.bulk.signal && { signal: wish.bulk.signal }),
      });
    } finally {
      await thaw();
    }
  };
