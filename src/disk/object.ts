/** Any object at a path: an encrypted one by its header, a plain one by its label or its file's name. */

import { basename } from 'node:path';
import { isFailure } from '../errors.js';
import type { Label, ObjectKind } from '../luks2/label.js';
import type { LockMode } from '../luks2/lock.js';
import { readPlain } from './plain.js';
import { type DiskDescription, readDisk } from './read.js';

/** What `readDisk` says of a file that is no disk of ours. */
export const NO_DISK_OF_OURS = ['LUKS2_NOT_LUKS', 'LUKS2_VERSION', 'LUKS2_TOKEN_MISSING'] as const;

export interface StoredObject {
  readonly path: string;
  readonly uuid: string;
  readonly label: Label;
  readonly sizeBytes: bigint;
  /** What its header says; undefined for a plain object. */
  readonly encrypted: DiskDescription | undefined;
}

/**
 * Reads what is at `path`; changes nothing. Fails with DISK_* or LUKS2_*: with LUKS2_NOT_LUKS, LUKS2_VERSION or
 * LUKS2_TOKEN_MISSING for what is no object at all.
 */
export async function readObject(path: string): Promise<StoredObject> {
  try {
    const disk = await readDisk(path);
    const { token, header, sizeBytes } = disk;
    return { path, uuid: header.uuid, label: token, sizeBytes, encrypted: disk };
  } catch (error) {
    // A plain disk may hold a volume of its user's.
    const foreign = isFailure(error, ...NO_DISK_OF_OURS);
    const plain = foreign ? await readPlain(path) : undefined;
    if (plain === undefined) throw error;
    return { ...plain, encrypted: undefined };
  }
}

/**
 * The lock under which its payload may be read: snapshots and images are never written, so a server that holds the shared
 * lock on one is no hindrance; a disk in service is.
 */
export const readingLock = (kind: ObjectKind): LockMode => (kind === 'disk' ? 'exclusive' : 'shared');

/** What people call it: its name, or that of its file. */
export const nameOf = ({ label, path }: Pick<StoredObject, 'label' | 'path'>): string =>
  label.name || basename(path);
