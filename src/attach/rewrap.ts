/**
 * Another wrapping for a disk's data key, wherever the disk is: by the server that serves it, else here; and for all disks
 * of a pool, one after the other.
 *
 * Kept true: only the process that holds the file's lock writes its header; what one disk of a pool fails with keeps no
 * other from its turn.
 */

import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { readDisk } from '../disk/read.js';
import { type Rewrapped, type RewrapWish, rewrapDetached } from '../disk/rewrap.js';
import { catalogued, errnoOf, fail, isFailure, type SealdiskError } from '../errors.js';
import type { ProviderEnvironment } from '../kms/provider.js';
import { find } from './attachments.js';
import { askControl } from './control.js';
import { indexOf } from './kernel-device.js';

const REWRAP_TIMEOUT_MS = 60_000;
/** How long a server that is just starting, or being replaced, may take to answer. */
const RETURN_TIMEOUT_MS = 10_000;

/** Rewraps the disk at `target`, a path or /dev/nbdN. Fails with DISK_*, LUKS2_*, KEY_URI_*, KMS_* or ATTACH_*. */
export async function rewrap(
  target: string,
  wish: RewrapWish,
  environment: ProviderEnvironment,
): Promise<Rewrapped> {
  const attachment = await find(target);
  if (!attachment && indexOf(target) !== undefined) fail('ATTACH_NOT_ATTACHED', { target });
  const path = attachment?.path ?? target;
  const uuid = attachment?.uuid ?? (await readDisk(path)).header.uuid;
  const endsMs = performance.now() + RETURN_TIMEOUT_MS;
  for (;;) {
    const done = await askControl<Rewrapped>(uuid, { verb: 'rewrap', wish }, REWRAP_TIMEOUT_MS);
    if (done !== undefined) return done;
    try {
      return await rewrapDetached(path, wish, environment);
    } catch (error) {
      if (!isFailure(error, 'DISK_IN_USE') || performance.now() >= endsMs) throw error;
    }
    await delay(100);
  }
}

export type RewrapOutcome =
  | { readonly path: string; readonly done: Rewrapped }
  | { readonly path: string; readonly failure: SealdiskError };

/** Rewraps every disk, snapshot and image in the pool; `report` hears of each as it is done. DISK_IO, DISK_NOT_FOUND. */
export async function rewrapAll(
  wish: RewrapWish,
  environment: ProviderEnvironment,
  report: (outcome: RewrapOutcome) => void,
): Promise<void> {
  const { poolDir } = environment;
  const names = await readdir(poolDir).catch((error) =>
    fail('DISK_IO', { path: poolDir, errno: errnoOf(error) }, error),
  );
  let count = 0;
  for (const name of names.sort()) {
    const outcome = await outcomeOf(join(poolDir, name), wish, environment);
    if (!outcome) continue;
    count += 1;
    report(outcome);
  }
  if (count === 0) fail('DISK_NOT_FOUND', { path: join(poolDir, '*') });
}

/** Undefined for what is no disk of ours. */
async function outcomeOf(
  path: string,
  wish: RewrapWish,
  environment: ProviderEnvironment,
): Promise<RewrapOutcome | undefined> {
  const what = await stat(path).catch(() => undefined);
  if (!what?.isFile() && !what?.isBlockDevice()) return undefined;
  try {
    return { path, done: await rewrap(path, wish, environment) };
  } catch (error) {
    if (isFailure(error, 'LUKS2_NOT_LUKS', 'LUKS2_VERSION', 'LUKS2_TOKEN_MISSING')) return undefined;
    return { path, failure: catalogued(error) };
  }
}
