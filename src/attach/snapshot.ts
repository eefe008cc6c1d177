/**
 * A snapshot of a disk in service, as the pool asks for it: by the server that serves the disk, by reflink where the file
 * system can, else by a copy that goes on behind.
 *
 * Kept true: when this resolves, the file is the disk's file at one instant between the call and `onTaken`, and on stable
 * storage (its folder is the caller's to sync); when it fails there is no file.
 */

import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { fail, isFailure, SealdiskError } from '../errors.js';
import { askControl } from './control.js';
import type { SnapshotStatus, SnapshotTaken, SnapshotWish } from './snapshots.js';

/** A hold that does not come about, and a slow disk's sync, are waited for. */
const TAKE_TIMEOUT_MS = 300_000;
const STATUS_TIMEOUT_MS = 5_000;
/** How long a server may be away: a killed one is replaced within seconds. */
const AWAY_MS = 60_000;
const FIRST_LOOK_MS = 20;
const LONGEST_LOOK_MS = 500;
/** What FICLONE answers where the file systems cannot, or are two. */
const NO_REFLINK = ['EOPNOTSUPP', 'EXDEV', 'EINVAL', 'ENOTTY', 'ENOSYS'];

export interface SnapshotProgress {
  readonly copiedBytes: bigint;
  readonly totalBytes: bigint;
}

export interface SnapshotOptions {
  /** The instant is over: what is written from now on is not in it. */
  readonly onTaken?: (heldMs: number, how: 'reflink' | 'copy') => void;
  readonly onProgress?: (progress: SnapshotProgress) => void;
  /** Ends it as failed (DISK_IO, ECANCELED). */
  readonly signal?: AbortSignal;
  /** To copy although the file system could share. */
  readonly mode?: 'auto' | 'copy';
}

export interface SnapshotServed {
  /** How long requests were held; 0 when the server was killed before it could say. */
  readonly heldMs: number;
  readonly how: 'reflink' | 'copy';
}

/**
 * Makes the file at `path` a snapshot of the disk `uuid`, which is in service. Fails with ATTACH_NOT_ATTACHED when nobody serves it,
 * with DISK_IO (ENOSPC, ECANCELED, ESTALE: the server was killed too early) when there is no snapshot.
 */
export async function snapshotServed(
  uuid: string,
  path: string,
  options: SnapshotOptions = {},
): Promise<SnapshotServed> {
  const id = randomBytes(10).toString('hex');
  if (options.mode !== 'copy') {
    const cloned = await clone(uuid, { id, mode: 'reflink', path });
    if (cloned) {
      options.onTaken?.(cloned.heldMs, 'reflink');
      return { heldMs: cloned.heldMs, how: 'reflink' };
    }
  }
  const taken = await ask<SnapshotTaken>(uuid, { id, mode: 'copy', path });
  if (taken) options.onTaken?.(taken.heldMs, 'copy');
  const heldMs = await complete(uuid, { id, path }, options);
  return { heldMs: taken?.heldMs ?? heldMs ?? 0, how: 'copy' };
}

/** Undefined when the file systems cannot. */
async function clone(uuid: string, wish: SnapshotWish): Promise<SnapshotTaken | undefined> {
  try {
    const taken = await ask<SnapshotTaken>(uuid, wish);
    if (taken) return taken;
  } catch (error) {
    if (isFailure(error, 'DISK_IO') && NO_REFLINK.includes(`${error.facts.errno}`)) return undefined;
    throw error;
  }
  rmSync(wish.path, { force: true }); // what a server that was killed left
  return fail('DISK_IO', { path: wish.path, errno: 'ESTALE' });
}

/** What the server answers; undefined when it went away first. */
async function ask<T>(uuid: string, wish: SnapshotWish): Promise<T | undefined> {
  const alive = await askControl(uuid, { verb: 'status' }, STATUS_TIMEOUT_MS);
  if (alive === undefined) fail('ATTACH_NOT_ATTACHED', { target: uuid });
  return askControl<T>(uuid, { verb: 'snapshot', wish }, TAKE_TIMEOUT_MS);
}

/** Waits for the copy to be whole, also across a server that is replaced. How long requests were held, where that is known. */
async function complete(
  uuid: string,
  { id, path }: { id: string; path: string },
  { onProgress, signal }: SnapshotOptions,
): Promise<number | null> {
  let awayEndsMs = performance.now() + AWAY_MS;
  for (let pauseMs = FIRST_LOOK_MS; ; pauseMs = Math.min(pauseMs * 2, LONGEST_LOOK_MS)) {
    if (signal?.aborted) await askControl(uuid, { verb: 'snapshot-cancel', id }, STATUS_TIMEOUT_MS);
    const seen = await askControl<SnapshotStatus | null>(
      uuid,
      { verb: 'snapshot-status', id },
      STATUS_TIMEOUT_MS,
    );
    if (seen === null) fail('DISK_IO', { path, errno: 'ESTALE' });
    if (seen) {
      awayEndsMs = performance.now() + AWAY_MS;
      if (seen.state === 'done') return seen.heldMs;
      if (seen.error) throw SealdiskError.fromJSON(seen.error as never);
      onProgress?.({ copiedBytes: BigInt(seen.copiedBytes), totalBytes: BigInt(seen.totalBytes) });
    } else if (performance.now() >= awayEndsMs) {
      rmSync(path, { force: true });
      fail('DISK_IO', { path, errno: 'ESTALE' });
    }
    await delay(pauseMs);
  }
}
