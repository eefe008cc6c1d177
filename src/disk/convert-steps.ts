/**
 * The steps of a conversion in place, each cut anywhere without a loss, and what comes after the last of them.
 *
 * Encryption: from the end on, pieces no longer than the header's room move up by that room. So no piece is written over
 * its own source, which stays whole until the next one; the header says "done" only when the piece is on stable storage
 * and was read back. The bytes that stood in the header's place come last, from where they wait.
 * Another data key: a piece is copied to the journal (in the keyslots area) as it is, the header says where it belongs,
 * and only then is it written over. A piece that was cut is put back from the journal first.
 */

import type { DataKey } from '../engine/engine.js';
import { type Place, transform } from '../engine/transform.js';
import { type Conversion, doneBytes, isComplete } from '../luks2/conversion.js';
import { writeHeader } from '../luks2/copies.js';
import { orDiskIo } from '../luks2/file.js';
import { geometryOf } from '../luks2/metadata.js';
import { type Layout, movedOffsetBytes } from '../luks2/reencrypt-segments.js';
import { tokenOf } from '../luks2/token.js';
import { type BulkOptions, runPiece } from './bulk.js';
import { writeConversion } from './conversion.js';
import type { Held } from './held-file.js';

export interface Work {
  readonly held: Held;
  readonly conversion: Conversion;
  /** That is to stay. */
  readonly key: DataKey;
  /** That the rest is under; none where it is plain. */
  readonly formerKey?: DataKey;
  readonly options: BulkOptions;
}

/** Does what is left, and leaves a disk like any other. DISK_IO, CONVERT_*: it can be gone on with, or it never began. */
export async function finish(work: Work): Promise<void> {
  const { path, file } = work.held;
  let { conversion } = work;
  while (!isComplete(conversion.layout)) {
    const step = conversion.layout.kind === 'encrypt' ? encryptStep : rekeyStep;
    conversion = await step({ ...work, conversion });
  }
  if (conversion.layout.kind === 'encrypt') await clearTail({ ...work, conversion });
  else await clear(work, conversion.area.offsetBytes, conversion.area.sizeBytes);
  await orDiskIo(path, file.sync());
  await writeHeader(file.fd, path, conversion.final);
}

async function encryptStep(work: Work): Promise<Conversion> {
  const { conversion, held, key } = work;
  const { layout } = conversion;
  const { boundaryBytes, shiftBytes } = layout;
  const next = nextBoundary(layout);
  const to = placeOf(work, key);
  const from = {
    ...to,
    key: undefined,
    offsetBytes: boundaryBytes > shiftBytes ? 0n : movedOffsetBytes(layout),
  };
  const range = { from: plainPlace(from), to, beginBytes: next, sizeBytes: boundaryBytes - next };
  await runPiece({ ...range, work: 'copy' }, 'encrypt', work.options, doneBytes(layout), layout.payloadBytes);
  await orDiskIo(held.path, held.file.datasync());
  await transform({ ...range, work: 'compare', reread: true }).done;
  return writeConversion(
    held.file.fd,
    held.path,
    { ...conversion, layout: { ...layout, boundaryBytes: next } },
    key,
  );
}

const plainPlace = ({ path, fd, offsetBytes, sectorSize }: Omit<Place, 'key'>): Place => ({
  path,
  fd,
  offsetBytes,
  sectorSize,
});

/** Where the next piece begins; the pieces are cryptsetup's, so that it can go on. */
function nextBoundary({ boundaryBytes, shiftBytes }: Layout): bigint {
  if (boundaryBytes <= shiftBytes) return 0n;
  return boundaryBytes < 2n * shiftBytes ? shiftBytes : boundaryBytes - shiftBytes;
}

async function rekeyStep(work: Work): Promise<Conversion> {
  const { held, key, formerKey } = work;
  const { path, file } = held;
  const sync = () => orDiskIo(path, file.datasync());
  let { conversion } = work;
  const { boundaryBytes, payloadBytes, hotBytes } = conversion.layout;
  const dataOffset = geometryOf(conversion.final).offsetBytes + boundaryBytes;
  const { offsetBytes: journalOffset, sizeBytes: journalBytes } = conversion.area;
  if (hotBytes > 0n) {
    await copyRaw(work, journalOffset, dataOffset, hotBytes);
    await sync();
  } else {
    const pieceBytes = smaller(payloadBytes - boundaryBytes, journalBytes);
    await copyRaw(work, dataOffset, journalOffset, pieceBytes);
    await sync();
    const layout = { ...conversion.layout, hotBytes: pieceBytes };
    conversion = await writeConversion(file.fd, path, { ...conversion, layout }, key);
  }
  const { layout } = conversion;
  const to = placeOf(work, key);
  const from = placeOf(work, formerKey);
  const piece = {
    from,
    to,
    beginBytes: boundaryBytes,
    sizeBytes: layout.hotBytes,
    keepHoles: to.holes === true,
  };
  await runPiece({ ...piece, work: 'copy' }, 'rekey', work.options, boundaryBytes, payloadBytes);
  await sync();
  const next = { ...layout, boundaryBytes: boundaryBytes + layout.hotBytes, hotBytes: 0n };
  return writeConversion(file.fd, path, { ...conversion, layout: next }, key);
}

const smaller = (a: bigint, b: bigint): bigint => (a < b ? a : b);

/** The payload as it is to stay, under `key`. */
function placeOf({ conversion: { final }, held: { path, file } }: Work, key: DataKey | undefined): Place {
  const { offsetBytes, sectorSize } = geometryOf(final);
  return { path, fd: file.fd, offsetBytes, sectorSize, holes: tokenOf(final).holes, ...(key ? { key } : {}) };
}

/** Copies bytes of the file as they are. */
export async function copyRaw(
  { held: { path, file } }: Pick<Work, 'held'>,
  fromBytes: bigint,
  toBytes: bigint,
  sizeBytes: bigint,
): Promise<void> {
  const place = (offsetBytes: bigint): Place => ({ path, fd: file.fd, offsetBytes, sectorSize: 512 });
  await transform({ work: 'copy', from: place(fromBytes), to: place(toBytes), beginBytes: 0n, sizeBytes })
    .done;
}

/** Writes zeros over bytes of the file. */
export async function clear(
  { held: { path, file } }: Pick<Work, 'held'>,
  offsetBytes: bigint,
  sizeBytes: bigint,
): Promise<void> {
  const place: Place = { path, fd: file.fd, offsetBytes, sectorSize: 512 };
  await transform({ work: 'copy', from: place, to: place, beginBytes: 0n, sizeBytes, fromBytes: 0n }).done;
}

/**
 * What waited behind the end was plain: it is written over with encrypted zeros. A file gives that room back; on a block
 * device it is part of the disk.
 */
async function clearTail(work: Work): Promise<void> {
  const { held, conversion, key } = work;
  const { payloadBytes } = conversion.layout;
  const { offsetBytes, sectorSize } = geometryOf(conversion.final);
  const sector = BigInt(sectorSize);
  const behind = held.sizeBytes - offsetBytes - payloadBytes;
  const range = { beginBytes: payloadBytes, sizeBytes: (behind / sector) * sector, fromBytes: 0n };
  const to = placeOf(work, key);
  if (range.sizeBytes > 0n) await transform({ ...range, work: 'copy', from: plainPlace(to), to }).done;
  await orDiskIo(held.path, held.file.datasync());
  if (!held.isDevice) await orDiskIo(held.path, held.file.truncate(Number(offsetBytes + payloadBytes)));
}
