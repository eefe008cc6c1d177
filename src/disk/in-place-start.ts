/**
 * The beginning of an encryption in place: from a plain file to a header that says how far it is.
 *
 * The first bytes must go out of the header's way before it is written. They are copied behind the end, and a record in the
 * gap between (last block of it) says what was there, until the header is whole: a file that is cut in between is told by
 * that record, and put back as it was. So at any moment the file is plain, or can be made plain from what it holds, or
 * has a header that can be gone on from.
 *
 *   plain        [ first | rest ........................ ]
 *   started      [ first | rest ........................ | gap ....... record | first ]
 *   converting   [ header| rest ........................ | gap                | first ]
 *
 * A file grows by twice the header's room for it, and gives back half of that at the end. A block device cannot grow: its
 * owner has made room at its end beforehand and says so.
 */

import { fail } from '../errors.js';
import type { Conversion } from '../luks2/conversion.js';
import { fileOf, orDiskIo } from '../luks2/file.js';
import { type Layout, movedBytes, movedOffsetBytes } from '../luks2/reencrypt-segments.js';
import { writeConversion } from './conversion.js';
import { clear, copyRaw, type Work } from './convert-steps.js';
import type { Held } from './held-file.js';
import { RECORD_BYTES, SHIFT_BYTES, type Start, writeStart } from './in-place-record.js';
import type { Keyslots } from './keyslot-aside.js';

/** What the file grows by, and what must be free at the end of a block device. */
export const ROOM_BYTES = 2n * SHIFT_BYTES;

/** Of an encryption that begins. */
export const startLayout = (payloadBytes: bigint): Layout => ({
  kind: 'encrypt',
  payloadBytes,
  boundaryBytes: payloadBytes,
  hotBytes: 0n,
  shiftBytes: SHIFT_BYTES,
});

/**
 * Brings the plain file to the header of the conversion. When it fails before there is a header the file is put back;
 * DISK_IO, LUKS2_JSON_FULL.
 */
export async function startInPlace(work: Omit<Work, 'formerKey'>, keyslots?: Keyslots): Promise<Conversion> {
  const { held, conversion, key } = work;
  const { path, file, sizeBytes } = held;
  const { layout } = conversion;
  const { payloadBytes } = layout;
  const base = { originalBytes: sizeBytes, payloadBytes };
  let phase: Start['phase'] = 'growing';
  try {
    if (!held.isDevice) {
      // The record makes the file longer by itself, so that no length is ever without one that explains it.
      await writeStart(held, { ...base, phase });
      await orDiskIo(path, file.truncate(Number(payloadBytes + ROOM_BYTES)));
    }
    await copyRaw(work, 0n, movedOffsetBytes(layout), movedBytes(layout));
    await orDiskIo(path, file.sync());
    phase = 'copied';
    await writeStart(held, { ...base, phase });
    // Of the first bytes nothing stays in the keyslots area.
    await clear(work, 0n, SHIFT_BYTES);
    if (keyslots) await orDiskIo(path, fileOf(file.fd).write(keyslots.areaOffsetBytes, keyslots.area));
    await orDiskIo(path, file.datasync());
    return await writeConversion(file.fd, path, conversion, key);
  } catch (error) {
    await undoStart(held, { ...base, phase }).catch(() => {});
    throw error;
  }
}

/** Makes the plain file of before; the file as it is held then. */
export async function undoStart(held: Held, { phase, originalBytes, payloadBytes }: Start): Promise<Held> {
  const { path, file } = held;
  const layout = startLayout(payloadBytes);
  if (phase === 'copied') {
    await copyRaw({ held }, movedOffsetBytes(layout), 0n, movedBytes(layout));
    await orDiskIo(path, file.sync());
  }
  if (held.isDevice) {
    if (phase === 'copied')
      await clear({ held }, payloadBytes + SHIFT_BYTES - BigInt(RECORD_BYTES), BigInt(RECORD_BYTES));
  } else {
    await orDiskIo(path, file.truncate(Number(originalBytes)));
  }
  await orDiskIo(path, file.sync());
  return { ...held, sizeBytes: held.isDevice ? held.sizeBytes : originalBytes };
}

/** Payload bytes of a plain file or device that is to be encrypted where it lies. CONVERT_REFUSED. */
export function payloadOf(held: Held, sectorSize: number, reduceBytes: bigint | undefined): bigint {
  const { path, sizeBytes, isDevice } = held;
  const sector = BigInt(sectorSize);
  if (!isDevice) {
    if (reduceBytes !== undefined)
      fail('CONVERT_REFUSED', { path, why: 'a file grows by itself, --reduce-device-size is for devices' });
    return ((sizeBytes + sector - 1n) / sector) * sector;
  }
  if (reduceBytes === undefined || reduceBytes < ROOM_BYTES) {
    const why = `a block device cannot grow: free its last ${ROOM_BYTES} bytes (shrink the file system), and say so with --reduce-device-size 32M`;
    fail('CONVERT_REFUSED', { path, why });
  }
  const payloadBytes = ((sizeBytes - ROOM_BYTES) / sector) * sector;
  if (payloadBytes <= 0n)
    fail('CONVERT_REFUSED', { path, why: `it has ${sizeBytes} bytes, more than ${ROOM_BYTES} are needed` });
  return payloadBytes;
}
