/**
 * The lock of a disk: flock on the file itself, shared to read the header, exclusive to write it, as cryptsetup does with
 * regular files; so each waits for the other.
 *
 * It belongs to the open file description: whoever inherits or duplicates the descriptor holds it too, and it ends with the
 * last of them, however they end. An attached disk holds the shared lock for as long as it is served (`holdLock`), which
 * keeps off every writer and every second attach. (cryptsetup locks a block device by a file under /run/cryptsetup; there the
 * flock keeps sealdisk's own processes apart, and dm-crypt's and mount's exclusive open of the device the others.)
 */

import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { flock } from 'fs-ext';
import { errnoOf, fail } from '../errors.js';

export type LockMode = 'shared' | 'exclusive';

/** Long enough for a cryptsetup that writes a header; its key derivation runs without the lock. */
export const LOCK_WAIT_MS = 5000;
const RETRY_MS = 50;

const flockOf = promisify<number, 'shnb' | 'exnb' | 'un'>(flock);

/** Runs `fn` under the lock; fails with DISK_IN_USE when it cannot be had within `waitMs`. */
export async function withLock<T>(
  fd: number,
  path: string,
  mode: LockMode,
  fn: () => Promise<T>,
  waitMs = LOCK_WAIT_MS,
): Promise<T> {
  await takeLock(fd, path, mode, waitMs);
  try {
    return await fn();
  } finally {
    await flockOf(fd, 'un');
  }
}

/**
 * Runs `fn` (which may write the header) under the exclusive lock, and then keeps the shared one until the descriptor
 * closes. Two who hold a disk this way exclude one another; readers of the header are let in.
 */
export async function holdLock<T>(
  fd: number,
  path: string,
  fn: () => Promise<T>,
  waitMs = LOCK_WAIT_MS,
): Promise<T> {
  await takeLock(fd, path, 'exclusive', waitMs);
  try {
    const result = await fn();
    // The change of mode is not atomic (flock(2)): a waiting writer may come first, so this can wait and fail too.
    await takeLock(fd, path, 'shared', waitMs);
    return result;
  } catch (error) {
    await flockOf(fd, 'un');
    throw error;
  }
}

/** Takes the lock, or changes the mode of the one held, and returns with it held. */
export async function takeLock(
  fd: number,
  path: string,
  mode: LockMode,
  waitMs = LOCK_WAIT_MS,
): Promise<void> {
  const deadlineMs = performance.now() + waitMs;
  while (!(await tryLock(fd, path, mode))) {
    if (performance.now() >= deadlineMs) fail('DISK_IN_USE', { path });
    await delay(RETRY_MS);
  }
}

/** Whether the lock could be had at once; it is held then. */
export async function tryLock(fd: number, path: string, mode: LockMode): Promise<boolean> {
  try {
    await flockOf(fd, mode === 'shared' ? 'shnb' : 'exnb');
    return true;
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'EAGAIN' || errno === 'EWOULDBLOCK') return false;
    return fail('DISK_IO', { path, errno }, error);
  }
}
