/**
 * A file or block device that nobody else uses for as long as it is converted.
 *
 * A file is held by flock, exclusively, which keeps out whoever serves it; a block device also by O_EXCL, which the kernel
 * refuses while it is mounted or part of something.
 */

import { constants } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { errnoOf, fail } from '../errors.js';
import { fileOf, orDiskIo } from '../luks2/file.js';
import { MAGIC } from '../luks2/header.js';
import { takeLock } from '../luks2/lock.js';
import { sizeOf } from './backing.js';

/** Who writes a header holds the lock for less; who serves it, for as long as that lasts. */
const USED_WAIT_MS = 1000;

export interface Held {
  readonly path: string;
  readonly file: FileHandle;
  readonly sizeBytes: bigint;
  readonly isDevice: boolean;
}

/**
 * Runs `use` with the file opened and held. Fails with DISK_NOT_FOUND, DISK_IO, or DISK_IN_USE when somebody serves or
 * mounts it.
 */
export async function withHeld<T>(
  path: string,
  access: 'read' | 'write',
  use: (held: Held) => Promise<T>,
): Promise<T> {
  const { file, isDevice } = await openHeld(path, access);
  try {
    await takeLock(file.fd, path, 'exclusive', USED_WAIT_MS);
    return await use({ path, file, sizeBytes: await sizeOf(file, path), isDevice });
  } finally {
    await file.close();
  }
}

async function openHeld(
  path: string,
  access: 'read' | 'write',
): Promise<{ file: FileHandle; isDevice: boolean }> {
  try {
    const isDevice = (await stat(path)).isBlockDevice();
    const mode = access === 'read' ? constants.O_RDONLY : constants.O_RDWR;
    const file = await open(path, mode | constants.O_NONBLOCK | (isDevice ? constants.O_EXCL : 0));
    return { file, isDevice };
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT') fail('DISK_NOT_FOUND', { path }, error);
    if (errno === 'EBUSY') fail('DISK_IN_USE', { path }, error);
    return fail('DISK_IO', { path, errno }, error);
  }
}

/** CONVERT_NOT_PLAIN for what begins as a LUKS volume, and for what holds no byte. */
export async function checkPlain({ path, file, sizeBytes }: Held): Promise<void> {
  if (sizeBytes === 0n) fail('CONVERT_NOT_PLAIN', { path, found: 'empty' });
  const begin = await orDiskIo(path, fileOf(file.fd).read(0, MAGIC.primary.length));
  if (begin.equals(MAGIC.primary)) fail('CONVERT_NOT_PLAIN', { path, found: 'a LUKS volume already' });
}
