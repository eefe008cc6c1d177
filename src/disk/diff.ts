/**
 * What differs between two objects of one chain: a snapshot and a later one, or what became of it.
 *
 * Both have the same data key, so what is the same in the clear is the same in the files, and no key is needed to tell; nor
 * does anything that is told show more than the files do. Ranges are whole granules: that of QEMU's dirty bitmaps, which a
 * backup reads as fast as a sector, and which keeps the list short. What neither file has data for is not read.
 */

import { read } from 'node:fs';
import { promisify } from 'node:util';
import { engine } from '../engine/engine.js';
import { fail } from '../errors.js';
import { orDiskIo } from '../luks2/file.js';
import type { Luks2Header } from '../luks2/header.js';
import { withLock } from '../luks2/lock.js';
import { digestRecordOf } from '../luks2/metadata.js';
import { openBacking } from './backing.js';
import type { StoredObject } from './object.js';

export const GRANULE_BYTES = 64 * 1024;
const PIECE_BYTES = 16 * GRANULE_BYTES;

export interface ChangedRange {
  /** Of the newer one's payload. */
  readonly offsetBytes: bigint;
  readonly sizeBytes: bigint;
}

/** One of the two, opened. */
interface Side {
  readonly path: string;
  readonly fd: number;
  /** Of the payload in the file. */
  readonly offsetBytes: bigint;
  readonly sizeBytes: bigint;
  readonly piece: Buffer;
}

/**
 * The ranges of `newer` that do not hold what `older` holds there, in their order; what `newer` has more is changed. Fails with
 * DISK_COMPARE, with DISK_IN_USE for a disk in service, or DISK_IO.
 */
export async function changedRanges(older: StoredObject, newer: StoredObject): Promise<ChangedRange[]> {
  checkComparable(older, newer);
  return withSide(older, (a) => withSide(newer, (b) => compare(a, b)));
}

/** DISK_COMPARE where equal bytes in the files would not mean equal data. */
export function checkComparable(older: StoredObject, newer: StoredObject): void {
  const [a, b] = [older.encrypted, newer.encrypted];
  const refuse = (why: string) => fail('DISK_COMPARE', { older: older.path, newer: newer.path, why });
  if (!a && !b) return;
  if (!a || !b) refuse('one is encrypted, the other plain');
  else if (keyMark(a.header) !== keyMark(b.header)) {
    refuse('each has a data key of its own, so they are not of one chain');
  } else if (a.sectorSize !== b.sectorSize) refuse('their sectors differ');
}

/** Salt and digest go with the data key from one object to the next. */
function keyMark(header: Luks2Header): string {
  const { salt, digest } = digestRecordOf(header);
  return `${salt} ${digest}`;
}

async function withSide<T>(object: StoredObject, use: (side: Side) => Promise<T>): Promise<T> {
  const { path, sizeBytes, encrypted, label } = object;
  const file = await openBacking(path, 'read');
  try {
    const offsetBytes = encrypted?.offsetBytes ?? 0n;
    const side = { path, fd: file.fd, offsetBytes, sizeBytes, piece: Buffer.alloc(PIECE_BYTES) };
    // Snapshots and images are never written.
    const mode = label.object.kind === 'disk' ? 'exclusive' : 'shared';
    return await withLock(file.fd, path, mode, () => use(side));
  } finally {
    await file.close();
  }
}

async function compare(older: Side, newer: Side): Promise<ChangedRange[]> {
  const more = newer.sizeBytes - older.sizeBytes;
  const common = more > 0n ? older.sizeBytes : newer.sizeBytes;
  const ranges = new Ranges();
  for (;;) {
    const at = nextData(older, newer, ranges.doneBytes);
    if (at === undefined || at >= common) break;
    const left = common - at;
    const wanted = left < PIECE_BYTES ? Number(left) : PIECE_BYTES;
    await Promise.all([fill(older, at, wanted), fill(newer, at, wanted)]);
    addGranules(older.piece, newer.piece, wanted, at, ranges);
  }
  if (more > 0n) ranges.add(common, more);
  return ranges.all;
}

/** Where one of the two has data next, at a granule. */
function nextData(older: Side, newer: Side, fromBytes: bigint): bigint | undefined {
  const found = [older, newer].map(({ fd, offsetBytes }) => {
    const run = engine().dataRun(fd, offsetBytes + fromBytes);
    return run ? run[0] - offsetBytes : undefined;
  });
  const [first] = found.filter((place) => place !== undefined).sort((a, b) => (a < b ? -1 : 1));
  if (first === undefined) return undefined;
  const granule = first - (first % BigInt(GRANULE_BYTES));
  return granule > fromBytes ? granule : fromBytes;
}

const readAt = promisify(read);

async function fill({ path, fd, offsetBytes, piece }: Side, atBytes: bigint, wanted: number): Promise<void> {
  for (let done = 0; done < wanted; ) {
    const position = Number(offsetBytes + atBytes) + done;
    const { bytesRead } = await orDiskIo(path, readAt(fd, piece, done, wanted - done, position));
    if (bytesRead === 0) fail('DISK_IO', { path, errno: `it ends at byte ${position}` });
    done += bytesRead;
  }
}

function addGranules(a: Buffer, b: Buffer, sizeBytes: number, atBytes: bigint, ranges: Ranges): void {
  const same = (from: number, to: number) => a.compare(b, from, to, from, to) === 0;
  if (!same(0, sizeBytes)) {
    for (let at = 0; at < sizeBytes; at += GRANULE_BYTES) {
      const end = Math.min(at + GRANULE_BYTES, sizeBytes);
      if (!same(at, end)) ranges.add(atBytes + BigInt(at), BigInt(end - at));
    }
  }
  ranges.doneBytes = atBytes + BigInt(sizeBytes);
}

/** Ranges in their order, neighbours as one. */
class Ranges {
  doneBytes = 0n;
  readonly all: ChangedRange[] = [];

  add(offsetBytes: bigint, sizeBytes: bigint): void {
    const last = this.all.at(-1);
    if (last && last.offsetBytes + last.sizeBytes === offsetBytes) {
      this.all[this.all.length - 1] = { ...last, sizeBytes: last.sizeBytes + sizeBytes };
    } else this.all.push({ offsetBytes, sizeBytes });
  }
}
