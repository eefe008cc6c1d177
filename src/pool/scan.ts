/**
 * The objects of a pool: the files at the top of its folder, each of which says itself what it is.
 *
 * An index beside them remembers what each file said, and as of which inode, size and change times; a file that is not just
 * so is read again. It is a cache and nothing else: lost, cut or forged in its times, it costs a reading, and what a command
 * acts on is read from the object itself.
 */

import { type BigIntStats, readdirSync, statSync } from 'node:fs';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, fail } from '../errors.js';
import { type Entry, entryAt, type Unreadable } from './entry.js';
import { inTurns } from './in-turns.js';

const INDEX = '.index.json';
const INDEX_VERSION = 1;
/** A file that was changed so short a time ago can change again and bear the same times. */
const SETTLED_MS = 2_000;

export interface PoolObjects {
  /** In the order of their names. */
  readonly entries: readonly Entry[];
  readonly unreadable: readonly Unreadable[];
}

/** What a file said (null: that it is no object), as of `stamp`. */
interface Remembered {
  readonly stamp: string;
  readonly entry: Entry | null;
}

type Index = Readonly<Record<string, Remembered>>;

/** Reads the pool; a folder that is not there is an empty pool. `nowMs` is the time of the files' changes. DISK_IO. */
export async function scanPool(poolDir: string, nowMs = Date.now()): Promise<PoolObjects> {
  const before = await readIndex(poolDir);
  const files = filesOf(poolDir);
  const now: Record<string, Remembered> = {};
  const entries: Entry[] = [];
  const unreadable: Unreadable[] = [];
  const unknown: [string, BigIntStats][] = [];
  for (const [name, stat] of files) {
    const known = before[name];
    if (known?.stamp !== stampOf(stat)) unknown.push([name, stat]);
    else {
      now[name] = known;
      if (known.entry) entries.push({ ...known.entry, path: join(poolDir, name) });
    }
  }
  const settledMs = BigInt(nowMs - SETTLED_MS);
  await inTurns(unknown, async ([name, stat]) => {
    const found = await entryAt(join(poolDir, name));
    if (found && 'why' in found) return void unreadable.push(found);
    if (found) entries.push(found);
    if (stat.ctimeMs < settledMs) now[name] = { stamp: stampOf(stat), entry: found ?? null };
  });
  if (unknown.length > 0 || Object.keys(before).length > files.length) await writeIndex(poolDir, now);
  const order = new Intl.Collator('en', { numeric: true }).compare;
  entries.sort((a, b) => order(a.name, b.name) || order(a.createdAt, b.createdAt));
  return { entries, unreadable };
}

/** Files and block devices, through symbolic links; hidden ones are none of ours. */
function filesOf(poolDir: string): [string, BigIntStats][] {
  const files: [string, BigIntStats][] = [];
  for (const name of namesIn(poolDir)) {
    if (name.startsWith('.')) continue;
    const path = join(poolDir, name);
    const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
    if (stat?.isFile() || stat?.isBlockDevice()) files.push([name, stat]);
  }
  return files;
}

function namesIn(poolDir: string): string[] {
  try {
    return readdirSync(poolDir);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT') return [];
    return fail('DISK_IO', { path: poolDir, errno }, error);
  }
}

const stampOf = ({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string =>
  `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`;

async function readIndex(poolDir: string): Promise<Index> {
  try {
    const { version, files } = JSON.parse(await readFile(join(poolDir, INDEX), 'utf8'));
    return version === INDEX_VERSION && typeof files === 'object' && files !== null ? files : {};
  } catch {
    return {};
  }
}

/** Whole or not at all; that it cannot be written is no failure of the command. */
async function writeIndex(poolDir: string, files: Index): Promise<void> {
  const aside = join(poolDir, `${INDEX}.${process.pid}`);
  try {
    await writeFile(aside, JSON.stringify({ version: INDEX_VERSION, files }), { mode: 0o600 });
    await rename(aside, join(poolDir, INDEX));
  } catch {
    await rm(aside, { force: true });
  }
}
