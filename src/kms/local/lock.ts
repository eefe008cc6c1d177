/**
 * The lock of the embedded KMS: flock, exclusive, on `<dir>/lock`, held by whoever changes something.
 *
 * Readers take none: every file is replaced by rename. The kernel frees the lock of a process that dies. It is asked
 * for again and again instead of waited for, because a thread blocked in flock could not keep a deadline.
 */

import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { flockSync } from 'fs-ext';
import { errnoOf } from '../../errors.js';
import type { Deadline } from './deadline.js';

const RETRY_MIN_MS = 1;
const RETRY_MAX_MS = 25;

/** Runs `change` under the lock of `dir`, which exists. Fails with KMS_TIMEOUT at the deadline. */
export async function withLock<T>(dir: string, deadline: Deadline, change: () => Promise<T>): Promise<T> {
  const file = await open(
    join(dir, 'lock'),
    constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW,
    0o600,
  );
  try {
    await take(file, deadline);
    return await change();
  } finally {
    await file.close();
  }
}

async function take(file: FileHandle, deadline: Deadline): Promise<void> {
  for (let waitMs = RETRY_MIN_MS; !tryFlock(file.fd); waitMs = Math.min(waitMs * 2, RETRY_MAX_MS)) {
    deadline.check();
    await pause(Math.min(waitMs * (0.5 + Math.random()), deadline.remainingMs));
  }
}

/** Takes the lock of an open file unless another holds it. */
export function tryFlock(fd: number): boolean {
  try {
    flockSync(fd, 'exnb');
    return true;
  } catch (error) {
    if (['EAGAIN', 'EWOULDBLOCK', 'EINTR'].includes(errnoOf(error))) return false;
    throw error;
  }
}
