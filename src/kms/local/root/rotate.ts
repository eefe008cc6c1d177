/**
 * The root key changed: another protection for the same key, or another key for the whole store.
 *
 * A rotation goes in steps, each under the store's lock and on stable storage before the next: both keys into root.json
 * (from now on all that is written is sealed under the new one), every file sealed anew, a few at a time, the head of
 * the audit log, the old key out of root.json, its file destroyed. Killed anywhere, it is gone on with by the next
 * rotation; others use the store meanwhile, for while there are two keys both open.
 */

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, fail } from '../../../errors.js';
import { appendAudit } from '../audit.js';
import { Deadline } from '../deadline.js';
import { destroyRootFile, newRootKey, ROOT_FILES } from '../root-key.js';
import { copyOf, freeSecret } from '../secret.js';
import { FOLDERS, type OpenStore, Store } from '../store.js';
import { type RootDescription, readDescription, rootFilesOf, writeDescription } from './description.js';
import { adoptRoot, holdRoot } from './held.js';
import { protect, type Wish } from './protection.js';

/** Sealed anew under one hold of the lock: others wait a few hundredths of a second. */
const BATCH = 64;
const TIMEOUT_MS = 60_000;

export interface Rotated {
  readonly generation: number;
  /** Whether one that had been begun was finished, instead of a new one made. */
  readonly resumed: boolean;
  /** Files that were sealed anew. */
  readonly resealed: number;
}

/** A new root key, kept as `wish` says, or as the present one is kept; or the end of a rotation that was cut short. */
export async function rotateRoot(
  dir: string,
  wish: Wish | undefined,
  onProgress: (done: number, total: number) => void = () => undefined,
): Promise<Rotated> {
  const letGo = holdRoot(dir);
  try {
    const resumed = await changing(dir, (store) => begin(store, wish));
    const names = await sealedFiles(dir);
    let resealed = 0;
    for (let at = 0; at < names.length; at += BATCH) {
      resealed += await changing(dir, (store) => store.resealAll(names.slice(at, at + BATCH)));
      onProgress(Math.min(at + BATCH, names.length), names.length);
    }
    // Its line brings the head of the log under the new key.
    await appendAudit(dir, { operation: 'RotateRootKey', key: '', outcome: 'ok' }, true);
    const { generation } = await changing(dir, finish);
    return { generation, resumed, resealed };
  } finally {
    letGo();
  }
}

/** The same key, kept in another way. Fails with USAGE while a rotation is under way. */
export async function protectRoot(dir: string, wish: Wish): Promise<RootDescription> {
  return changing(dir, async (store) => {
    const { current, old } = await readDescription(dir);
    if (old !== null)
      fail('USAGE', { what: 'a rotation of the root key is under way: finish it first (kms root rotate)' });
    const entry = await protect(dir, store.root, current.generation, wish);
    const description: RootDescription = { format: 1, current: entry, old: null };
    await writeDescription(dir, description);
    await adoptRoot(dir, { current: copyOf(store.root), old: undefined });
    await destroyStrays(dir, description);
    await appendAudit(dir, { operation: 'ProtectRootKey', key: '', outcome: 'ok' }, true);
    return description;
  });
}

/** Two keys from here on; true when there were two already. */
async function begin({ dir, root }: OpenStore, wish: Wish | undefined): Promise<boolean> {
  const description = await readDescription(dir);
  if (description.old !== null) return true;
  await destroyStrays(dir, description);
  const { current } = description;
  const { protection } = current;
  const pcrs = protection.kind === 'tpm' && protection.pcrs !== null ? { pcrs: protection.pcrs } : {};
  const key = newRootKey();
  try {
    const next = await protect(dir, key, current.generation + 1, wish ?? { kind: protection.kind, ...pcrs });
    await writeDescription(dir, { format: 1, current: next, old: current });
    await adoptRoot(dir, { current: copyOf(key), old: copyOf(root) });
  } finally {
    freeSecret(key);
  }
  return false;
}

async function finish({ dir, root }: OpenStore): Promise<{ generation: number }> {
  const { current } = await readDescription(dir);
  const description: RootDescription = { format: 1, current, old: null };
  await writeDescription(dir, description);
  await adoptRoot(dir, { current: copyOf(root), old: undefined });
  await destroyStrays(dir, description);
  return current;
}

/** Key files that nothing names: of a change that was killed before it named them, or after it had forgotten them. */
async function destroyStrays(dir: string, description: RootDescription): Promise<void> {
  const named = rootFilesOf(description);
  for (const name of await readdir(dir)) {
    if (ROOT_FILES.test(name) && !named.includes(name)) await destroyRootFile(dir, name);
  }
}

/** All that the root key seals, by its path in the folder, but for the head of the audit log. */
export async function sealedFiles(dir: string): Promise<string[]> {
  const names: string[] = [];
  for (const folder of FOLDERS) {
    const found = await readdir(join(dir, folder)).catch((error) => {
      if (errnoOf(error) === 'ENOENT') return []; // of those that not every store has
      throw error;
    });
    for (const name of found.sort()) names.push(`${folder}/${name}`);
  }
  return names;
}

async function changing<T>(dir: string, change: (store: OpenStore) => Promise<T>): Promise<T> {
  return new Store(dir).change('local:', new Deadline(TIMEOUT_MS, 'local:'), false, change);
}

/** How the root key is kept now. Fails as the store does. */
export async function describeRoot(dir: string): Promise<RootDescription> {
  try {
    await readdir(join(dir, 'keys'));
  } catch (error) {
    fail('KMS_CONNECTION', { keyUri: 'local:', why: `${dir}: ${errnoOf(error)}` }, error);
  }
  return readDescription(dir);
}
