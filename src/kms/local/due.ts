/**
 * When keys end by the clock: `due/<milliseconds>.<key id>`, an empty file for each time at which a key, or the material
 * that was imported into it, is over. So what is over is found among a hundred thousand keys without a look at each.
 *
 * Kept true: a time is noted before the record that has it is written, so there may be one note too many, never one too
 * few; the record decides. `due/complete` stands once the notes of all records are there.
 */

import { mkdir, open, readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../../errors.js';
import { syncFolder } from './durable.js';
import type { KeyRecord } from './record.js';
import { isKeyId } from './ref.js';

const FOLDER = 'due';
const COMPLETE = 'complete';
/** So many digits have all times that Date knows, and names in the order of letters are in the order of time. */
const TIME_DIGITS = 16;

export interface Note {
  readonly name: string;
  readonly atMs: number;
  readonly keyId: string;
}

/** The notes whose time has come, the oldest first; undefined where the notes are not complete. */
export async function notesDue(dir: string, nowMs: number): Promise<Note[] | undefined> {
  const names = await readdir(join(dir, FOLDER)).catch((error): string[] => {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  });
  if (!names.includes(COMPLETE)) return undefined;
  const notes = names.sort().map((name) => {
    const [time = '', keyId = ''] = name.split('.');
    return { name, atMs: Number(time), keyId };
  });
  return notes.filter(({ atMs, keyId }) => isKeyId(keyId) && atMs <= nowMs);
}

/** Notes the times of `records`, on stable storage. The caller holds the lock. */
export async function note(dir: string, records: readonly KeyRecord[]): Promise<void> {
  const names = records.flatMap((record) => timesOf(record).map((atMs) => nameOf(atMs, record.keyId)));
  if (names.length > 0) await touch(dir, names);
}

/** Says that the notes of all records are there. The caller holds the lock. */
export const noteComplete = (dir: string): Promise<void> => touch(dir, [COMPLETE]);

/** Forgets a note. The caller holds the lock. */
export const forgetNote = (dir: string, { name }: Note): Promise<void> => unlink(join(dir, FOLDER, name));

async function touch(dir: string, names: readonly string[]): Promise<void> {
  const folder = join(dir, FOLDER);
  if ((await mkdir(folder, { recursive: true, mode: 0o700 })) !== undefined) await syncFolder(dir);
  for (const name of names) await (await open(join(folder, name), 'a', 0o600)).close();
  await syncFolder(folder);
}

const nameOf = (atMs: number, keyId: string): string => `${String(atMs).padStart(TIME_DIGITS, '0')}.${keyId}`;

function timesOf({ deletionDate, materialExpiresAt, versions }: KeyRecord): number[] {
  const ends = versions.some(({ material }) => material !== null) ? [materialExpiresAt] : [];
  return [deletionDate, ...ends].filter((date) => date !== null).map((date) => Date.parse(date));
}
