/** The file or block device that holds a disk: opened once, measured, named in every error. */

import { constants } from 'node:fs';
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { errnoOf, fail } from '../errors.js';

/** Opens `path`; DISK_NOT_FOUND or DISK_IO. The caller closes it. */
export async function openBacking(path: string, access: 'read' | 'write'): Promise<FileHandle> {
  // A FIFO without a writer must not make us wait; to files and block devices the flag means nothing.
  const flags = (access === 'read' ? constants.O_RDONLY : constants.O_RDWR) | constants.O_NONBLOCK;
  try {
    return await open(path, flags);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT') fail('DISK_NOT_FOUND', { path }, error);
    fail('DISK_IO', { path, errno }, error);
  }
}

/** Length in bytes of a regular file or a block device; DISK_IO (ENOTBLK) for anything else. */
export async function sizeOf(handle: FileHandle, path: string): Promise<bigint> {
  const stat = await handle.stat({ bigint: true });
  if (stat.isFile()) return stat.size;
  if (!stat.isBlockDevice()) fail('DISK_IO', { path, errno: 'ENOTBLK (neither a file nor a block device)' });
  const major = ((stat.rdev >> 8n) & 0xfffn) | ((stat.rdev >> 32n) & ~0xfffn);
  const minor = (stat.rdev & 0xffn) | ((stat.rdev >> 12n) & ~0xffn);
  const sectors = await readFile(`/sys/dev/block/${major}:${minor}/size`, 'utf8');
  return BigInt(sectors.trim()) * 512n;
}
