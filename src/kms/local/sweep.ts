/**
 * What is over by the clock, taken off the disk: keys past their deletion date with their names, and imported material
 * whose time has ended. By the clock it is gone at once (lifecycle.ts); this destroys it, at every change of the store
 * and while `kms serve` runs. The record that goes, or that is written without its material, is overwritten.
 */

import { isFailure, type SealdiskError } from '../../errors.js';
import { aliasesOf } from './alias.js';
import { Deadline } from './deadline.js';
import { forgetNote, type Note, note, noteComplete, notesDue } from './due.js';
import { destroy, tell } from './gone.js';
import { emptied, hasMaterial, materialEnded, recordAt } from './lifecycle.js';
import type { KeyRecord } from './record.js';
import { catalogued, type OpenStore, Store } from './store.js';

/** At one hold of the lock: a change that finds more does not wait for all of it. */
const AT_ONCE = 16;
const READ_AT_ONCE = 64;
const TIMEOUT_MS = 60_000;

export interface Swept {
  /** Keys that were destroyed, with all material. */
  readonly destroyed: number;
  /** Keys that lost imported material. */
  readonly ended: number;
  /** One for each key that could not be swept; the next sweep tries again. */
  readonly failures: readonly SealdiskError[];
}

const NOTHING: Swept = { destroyed: 0, ended: 0, failures: [] };

/** Sweeps the store in `dir`, if something is due there. Fails as the store does. */
export async function sweepStore(dir: string): Promise<Swept> {
  const store = new Store(dir);
  const isDue = async () => (await notesDue(dir, Date.now()))?.length !== 0;
  let all = NOTHING;
  while ((await store.exists()) && (await isDue())) {
    const swept = await store.change('local:', new Deadline(TIMEOUT_MS, 'local:'), false, sweepSome);
    all = {
      destroyed: all.destroyed + swept.destroyed,
      ended: all.ended + swept.ended,
      failures: swept.failures,
    };
    if (swept.failures.length > 0) break;
  }
  return all;
}

/** Sweeps a few. A key that cannot be swept is told of, and hinders no other. The caller holds the lock. */
export async function sweepSome(store: OpenStore): Promise<Swept> {
  const nowMs = Date.now();
  const notes = (await notesDue(store.dir, nowMs)) ?? (await noteAll(store, nowMs));
  const failures: SealdiskError[] = [];
  const done = { destroyed: 0, ended: 0 };
  for (const each of notes) {
    if (done.destroyed + done.ended === AT_ONCE) break;
    try {
      await sweepKey(store, each, nowMs, done);
    } catch (error) {
      failures.push(catalogued(error, `local:${each.keyId}`, store.dir));
    }
  }
  return { ...done, failures };
}

async function sweepKey(
  store: OpenStore,
  due: Note,
  nowMs: number,
  done: { destroyed: number; ended: number },
): Promise<void> {
  const written = await store.readRecord(due.keyId);
  if (written && recordAt(written, nowMs) === undefined) {
    await destroy(store, written);
    done.destroyed += 1;
  } else if (written && materialEnded(written, nowMs) && hasMaterial(written)) {
    await tell(store, 'EndKeyMaterial', written);
    await store.writeRecord(withoutEnded(written), written);
    done.ended += 1;
  }
  await forgetNote(store.dir, due);
}

/** One that waits for its deletion goes on waiting for it. */
const withoutEnded = (written: KeyRecord): KeyRecord => ({
  ...written,
  state: written.state === 'pendingDeletion' ? written.state : 'pendingImport',
  versions: emptied(written),
});

/** Notes the times of all records: of a store that came from a backup, or from a time without notes. */
async function noteAll(store: OpenStore, nowMs: number): Promise<Note[]> {
  for await (const records of allRecords(store)) await note(store.dir, records);
  await noteComplete(store.dir);
  return (await notesDue(store.dir, nowMs)) ?? [];
}

/** Keys that are gone by the clock and still lie in the store. */
export async function goneKeys(store: OpenStore): Promise<KeyRecord[]> {
  const nowMs = Date.now();
  const isGone = (record: KeyRecord) => recordAt(record, nowMs) === undefined;
  const notes = await notesDue(store.dir, nowMs);
  if (notes) {
    const records = await Promise.all(notes.map(({ keyId }) => store.readRecord(keyId)));
    return records.filter((record) => record !== undefined).filter(isGone);
  }
  const gone: KeyRecord[] = [];
  for await (const records of allRecords(store)) gone.push(...records.filter(isGone));
  return gone;
}

/** The names that no key has any more, though their files are there. */
export async function goneAliases(store: OpenStore): Promise<string[]> {
  const gone = await goneKeys(store);
  return (await Promise.all(gone.map((record) => aliasesOf(store, record)))).flat();
}

/** All records that can be read, a few at a time. */
async function* allRecords(store: OpenStore): AsyncGenerator<KeyRecord[]> {
  const ids = await store.keyIds();
  for (let at = 0; at < ids.length; at += READ_AT_ONCE) {
    const some = ids.slice(at, at + READ_AT_ONCE);
    const read = await Promise.all(some.map((keyId) => readable(store, keyId)));
    yield read.filter((record) => record !== undefined);
  }
}

/** A record that was altered is told of by whoever uses it, and has no time that could be believed. */
async function readable(store: OpenStore, keyId: string): Promise<KeyRecord | undefined> {
  try {
    return await store.readRecord(keyId);
  } catch (error) {
    if (isFailure(error, 'KMS_STORE_ALTERED')) return undefined;
    throw error;
  }
}
