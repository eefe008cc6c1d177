/**
 * An image file of others, seen by its format: what it is, whether it may be read, and how large the disk in it is.
 *
 * Its maker is a stranger. The file's first bytes are judged here (format.ts); what they let through is looked at by a
 * qemu-img that has the file's bytes and no right to any other file, so that one that changes under us reaches nothing.
 */

import { openBacking, sizeOf } from '../disk/backing.js';
import { type EngineDisk, engine } from '../engine/engine.js';
import { fail } from '../errors.js';
import { fileOf, orDiskIo } from '../luks2/file.js';
import { BEGIN_BYTES, flawOf, formatOf, type ImageFormat } from './format.js';
import type { Offer } from './offer.js';
import { firstLine, nodeOf, qemuImg } from './qemu-img.js';

const SECTOR_BYTES = 512;
/** Nobody needs more; a few bytes of a header can claim 8 EiB. */
export const VIRTUAL_MAX_BYTES = 2n ** 46n;
/** Exit codes of qemu-img check with which all that the image holds is there: good, leaked clusters, a format without a check. */
const GOOD_CHECKS = [0, 3, 63];

/** What the file is, as it says itself unless its owner says it. DISK_*, IMAGE_REFUSED. */
export async function recognize(path: string, asked: ImageFormat | undefined): Promise<ImageFormat> {
  const file = await openBacking(path, 'read');
  try {
    const sizeBytes = await sizeOf(file, path);
    const beginBytes = Math.min(BEGIN_BYTES, Number(sizeBytes));
    const begin = await orDiskIo(path, fileOf(file.fd).read(0, beginBytes));
    const format = formatFor(path, begin, asked);
    const why = flawOf(format, begin);
    if (why !== undefined) fail('IMAGE_REFUSED', { path, why });
    return format;
  } finally {
    await file.close();
  }
}

function formatFor(path: string, begin: Buffer, asked: ImageFormat | undefined): ImageFormat {
  if (asked === 'raw') return 'raw';
  const found = formatOf(begin);
  if ('other' in found) {
    return fail('IMAGE_REFUSED', { path, why: `it is ${found.other}, expected raw, qcow2, vmdk or vhdx` });
  }
  if (asked !== undefined && found.format !== asked) {
    fail('IMAGE_REFUSED', { path, why: `it is ${found.format}, --format says ${asked}` });
  }
  return found.format;
}

export interface ForeignImage {
  readonly path: string;
  readonly format: ImageFormat;
  /** The bytes of the file, for qemu-img to make sense of. */
  readonly offer: Offer;
  /** Of the disk in it, in whole sectors of 512 bytes. */
  readonly sizeBytes: bigint;
}

/** Runs `use` with the image, once it is seen to be whole. DISK_*, IMAGE_*. */
export async function withForeign<T>(
  path: string,
  format: ImageFormat,
  signal: AbortSignal | undefined,
  use: (image: ForeignImage) => Promise<T>,
): Promise<T> {
  const { disk, fileBytes } = await openFile(path);
  try {
    const offer: Offer = { disk, sizeBytes: fileBytes, sectorSize: SECTOR_BYTES, readOnly: true };
    const looking = { path, offers: [offer], apart: true, ...(signal ? { signal } : {}) };
    const info = await qemuImg({
      ...looking,
      words: ([fd = 0]) => ['info', '--output=json', nodeOf(format, fd)],
    });
    if (info.code !== 0) fail('IMAGE_REFUSED', { path, why: `it is no good ${format}: ${firstLine(info)}` });
    const sizeBytes = sizeIn(info.out, path);
    const checked = await qemuImg({ ...looking, words: ([fd = 0]) => ['check', nodeOf(format, fd)] });
    if (!GOOD_CHECKS.includes(checked.code)) {
      fail('IMAGE_REFUSED', { path, why: `it is damaged: ${firstLine(checked)}` });
    }
    return await use({ path, format, offer, sizeBytes });
  } finally {
    await disk.close();
  }
}

/** Held as long as it is open: nobody who serves it writes to it. */
async function openFile(path: string): Promise<{ disk: EngineDisk; fileBytes: bigint }> {
  const file = await openBacking(path, 'read');
  const fileBytes = await sizeOf(file, path).finally(() => file.close());
  if (fileBytes % BigInt(SECTOR_BYTES) !== 0n) {
    const why = `its ${fileBytes} bytes are no whole sectors of ${SECTOR_BYTES} (truncate --size=%512 fills the last)`;
    fail('IMAGE_REFUSED', { path, why });
  }
  const disk = engine().openDisk({
    path,
    offsetBytes: 0n,
    sizeBytes: fileBytes,
    sectorSize: SECTOR_BYTES,
    readOnly: true,
    plain: true,
  });
  disk.goLive();
  return { disk, fileBytes };
}

/** What `qemu-img info` says of the size, unless it says what speaks against the image. */
function sizeIn(info: string, path: string): bigint {
  const found = JSON.parse(info) as Record<string, unknown>;
  const size = found['virtual-size'];
  if (found['backing-filename'] !== undefined) {
    fail('IMAGE_REFUSED', { path, why: 'it lies over another image, expected one that stands by itself' });
  }
  if (found.encrypted === true) fail('IMAGE_REFUSED', { path, why: 'it is encrypted' });
  if (typeof size !== 'number' || size < 1 || BigInt(size) > VIRTUAL_MAX_BYTES) {
    const why = `the disk in it has ${size} bytes, expected 1 to ${VIRTUAL_MAX_BYTES}`;
    return fail('IMAGE_REFUSED', { path, why });
  }
  const sector = BigInt(SECTOR_BYTES);
  return ((BigInt(size) + sector - 1n) / sector) * sector;
}
