/**
 * Every plain disk of a pool made an encrypted one, several at a time; one that fails does not stop the others.
 *
 * The pool is the only record of how far that is: what an encrypted disk names as its source is done. Killed at any time it
 * leaves each plain disk as it was, or with its successor beside it, and the next run does what is missing. The successor
 * takes the name over, and the plain disk is called NAME.plain from then on; or it is deleted, where that is asked for, when
 * the two were compared under the lock that it goes under.
 */

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { BulkOptions, BulkProgress } from '../disk/bulk.js';
import { unlinkHeld } from '../disk/delete.js';
import { compareHeld, encryptHeld } from '../disk/encrypt-to.js';
import { type Held, withHeld } from '../disk/held-file.js';
import { nameOf, readObject, type StoredObject } from '../disk/object.js';
import { KMS_TIMEOUT_MS } from '../disk/patience.js';
import { adoptPlain, bareName, readPlain } from '../disk/plain.js';
import { relabelPlain } from '../disk/relabel.js';
import { catalogued, fail, isFailure, type SealdiskError } from '../errors.js';
import type { KeyProvider, ProviderEnvironment } from '../kms/provider.js';
import { openProvider } from '../kms/registry.js';
import type { Entry, Unreadable } from '../pool/entry.js';
import { mayMake, mayTouch } from '../pool/may.js';
import { scanPool } from '../pool/scan.js';
import { list } from './attachments.js';

/** A plain disk, and what became of it. */
export interface Row {
  readonly name: string;
  readonly path: string;
  readonly id: string;
  readonly newId: string | null;
  readonly newPath: string | null;
  readonly sizeBytes: string;
  readonly outcome: 'waiting' | 'working' | 'encrypted' | 'done before' | 'failed';
  /** Of work on it. */
  readonly seconds: number;
  readonly plainDeleted: boolean;
  readonly failure: SealdiskError | null;
}

export interface EncryptAll {
  /** Tags that a disk must have, all of them. */
  readonly match: Readonly<Record<string, string>>;
  /** Canonical. */
  readonly keyUri: string;
  /** How many at a time. */
  readonly parallel: number;
  readonly deletePlain: boolean;
  /** The new disks may have holes. */
  readonly discard: boolean;
  readonly environment: ProviderEnvironment;
  readonly signal: AbortSignal;
  onRow(row: Row): void;
  onProgress(row: Row, progress: BulkProgress): void;
}

/** One disk of the plan: what the pool knows of it, and of what is made of it. */
export interface Planned {
  readonly row: Row;
  readonly plain: Entry;
  readonly successor: Entry | undefined;
}

export interface Plan {
  readonly planned: readonly Planned[];
  /** Plain snapshots and images, which stay. */
  readonly others: number;
  readonly unreadable: readonly Unreadable[];
}

type Wish = Pick<EncryptAll, 'match' | 'keyUri' | 'deletePlain' | 'environment'>;

/** What there is to do in the pool; an obstacle that shows already makes a row that failed. Changes nothing. DISK_IO. */
export async function planEncryption(poolDir: string, wish: Wish): Promise<Plan> {
  const { entries, unreadable } = await scanPool(poolDir);
  const wanted = ({ encrypted, tags }: Entry) =>
    !encrypted && Object.entries(wish.match).every(([key, value]) => tags[key] === value);
  const plain = entries.filter(wanted);
  const disks = plain.filter(({ kind }) => kind === 'disk');
  const inService = new Map(
    (await list()).map((one) => [one.uuid, one.device ?? one.address ?? 'elsewhere']),
  );
  const planned = disks.map(async (entry): Promise<Planned> => {
    const successor = entries.find((one) => one.encrypted && one.kind === 'disk' && one.source === entry.id);
    const row = rowOf(entry, successor);
    try {
      const twins = disks.filter(({ id }) => id === entry.id).map(({ path }) => path);
      if (twins.length > 1) fail('DISK_AMBIGUOUS', { word: entry.id, paths: twins.join(', ') });
      const where = inService.get(entry.uuid);
      if (where !== undefined) fail('DISK_ATTACHED', { path: entry.path, where });
      if (!successor) await checkNew(entry, wish);
      const change = wish.deletePlain ? 'ecs:DeleteDisk' : 'ecs:ModifyDiskAttribute';
      await mayTouch(change, await readObject(entry.path), wish.environment);
      return { row, plain: entry, successor };
    } catch (error) {
      return { row: failed(row, error), plain: entry, successor };
    }
  });
  return { planned: await Promise.all(planned), others: plain.length - disks.length, unreadable };
}

function rowOf({ name, path, id, sizeBytes }: Entry, successor: Entry | undefined): Row {
  return {
    ...{ name, path, id, sizeBytes },
    newId: successor?.id ?? null,
    newPath: successor?.path ?? null,
    outcome: successor ? 'done before' : 'waiting',
    seconds: 0,
    plainDeleted: false,
    failure: null,
  };
}

const failed = (row: Row, error: unknown): Row => ({ ...row, outcome: 'failed', failure: catalogued(error) });

/** The new disk's file lies beside the plain one. Its name is a file's already: a label may hold anything. */
function newPathOf({ path }: { readonly path: string }): string {
  const bare = bareName(path);
  return join(dirname(path), path.endsWith(`/${bare}`) ? `${bare}.luks` : bare);
}

async function checkNew(plain: Entry, { keyUri, environment }: Wish): Promise<void> {
  const { name, id: source, tags } = plain;
  await mayMake('ecs:CreateDisk', { kind: 'disk', name, source, tags, keyUri }, environment);
  const path = newPathOf(plain);
  if (existsSync(path)) fail('DISK_EXISTS', { path });
}

/** Carries the plan out; rows as they are in the end. Those still waiting were not begun when `signal` came. KEY_URI_*, KMS_*. */
export async function encryptAll(planned: readonly Planned[], how: EncryptAll): Promise<Row[]> {
  const rows = planned.map(({ row }) => row);
  const provider = await openProvider(how.keyUri, { ...how.environment, namedByOwner: true });
  const rest = planned.entries();
  const worker = async (): Promise<void> => {
    for (const [i, one] of rest) {
      if (how.signal.aborted) return;
      if (one.row.outcome === 'failed') how.onRow(one.row);
      else rows[i] = await workOn(one, provider, how);
    }
  };
  try {
    await Promise.all(Array.from({ length: how.parallel }, worker));
  } finally {
    await provider.close();
  }
  return rows;
}

async function workOn(
  { row, plain, successor }: Planned,
  provider: KeyProvider,
  how: EncryptAll,
): Promise<Row> {
  const beganMs = performance.now();
  let now: Row = { ...row, outcome: 'working' };
  const show = (change: Partial<Row>): void => {
    now = { ...now, ...change, seconds: Math.round(performance.now() - beganMs) / 1000 };
    how.onRow(now);
  };
  const bulk: BulkOptions = {
    timeoutMs: KMS_TIMEOUT_MS,
    signal: how.signal,
    onProgress: (progress) => how.onProgress(now, progress),
  };
  show({});
  try {
    await withHeld(plain.path, 'read', async (held) => {
      const asOf = await contentStamp(held);
      const own = await identified(plain.path);
      const newPath = successor?.path ?? (await succeed(held, own, provider, how, bulk));
      const disk = await readObject(newPath);
      show({ id: own.label.object.id, newId: disk.label.object.id, newPath });
      if (how.deletePlain) {
        if (successor) await compare(held, disk, how, bulk);
        await unlinkUnwritten(held, asOf);
      } else if (nameOf(own) === nameOf(disk)) {
        relabelPlain(own, { name: `${nameOf(own)}.plain` });
      }
      show({ outcome: successor ? 'done before' : 'encrypted', plainDeleted: how.deletePlain });
    });
  } catch (error) {
    show(failed(now, error));
  }
  return now;
}

/** The plain disk, with an identity that is its own. */
async function identified(path: string): Promise<StoredObject> {
  const found = await readPlain(path);
  if (found) adoptPlain(found);
  const plain = await readPlain(path);
  if (!plain) fail('DISK_NOT_FOUND', { path });
  return { ...plain, encrypted: undefined };
}

/** Makes the encrypted disk; its path. */
async function succeed(
  held: Held,
  plain: StoredObject,
  provider: KeyProvider,
  { discard }: EncryptAll,
  bulk: BulkOptions,
): Promise<string> {
  const { object, tags } = plain.label;
  const target = { path: newPathOf(plain), name: nameOf(plain), source: object.id, tags, discard };
  return (await encryptHeld(held, target, provider, bulk)).path;
}

/** CONVERT_KEPT where the two are not the same: one of them was written to since. */
async function compare(
  held: Held,
  { path, encrypted }: StoredObject,
  { environment }: EncryptAll,
  bulk: BulkOptions,
): Promise<void> {
  if (!encrypted) return fail('INTERNAL', { what: `${path} was encrypted` });
  const own = await openProvider(encrypted.token.keyUri, environment);
  try {
    await compareHeld(held, encrypted, own, bulk);
  } catch (error) {
    if (!isFailure(error, 'CONVERT_DIFFERS')) throw error;
    const why = `${path}, which was made of it, holds something else from byte ${error.facts.atBytes} on`;
    fail('CONVERT_KEPT', { path: held.path, why }, error);
  } finally {
    await own.close();
  }
}

/** Not every program asks for a lock before it writes. */
async function unlinkUnwritten(held: Held, asOf: string): Promise<void> {
  const { path } = held;
  if ((await contentStamp(held)) !== asOf) fail('CONVERT_KEPT', { path, why: 'it was written to meanwhile' });
  await unlinkHeld(path);
}

async function contentStamp({ file }: Held): Promise<string> {
  const { size, mtimeNs } = await file.stat({ bigint: true });
  return `${size}:${mtimeNs}`;
}
