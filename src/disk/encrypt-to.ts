/**
 * Copies that end encrypted: of a plain file into a new disk, and of an encrypted object under a fresh data key.
 *
 * Kept true: the copy gets its name when every byte of it was read back from the storage, deciphered and compared with its
 * source, and not before; killed at any time it leaves nothing under the name. Plaintext stays in the engine's memory.
 */

import type { Place } from '../engine/transform.js';
import { fail } from '../errors.js';
import type { KeyProvider } from '../kms/provider.js';
import { orDiskIo } from '../luks2/file.js';
import { withLock } from '../luks2/lock.js';
import { openBacking } from './backing.js';
import { type BulkOptions, runPiece } from './bulk.js';
import { type CreatedDisk, createDisk, type NewDisk, type Unpublished, wholeSectors } from './create.js';
import { unwrapDataKey } from './envelope.js';
import { checkPlain, type Held, withHeld } from './held-file.js';
import { readingLock } from './object.js';
import type { DiskDescription } from './read.js';

/** What is to be made; it is as large as its source, or larger where `sizeBytes` says so. */
export interface CopyTarget extends Omit<NewDisk, 'sizeBytes' | 'sectorSize'> {
  /** At least that of the source; the rest is noise, or zeros with `discard`. */
  readonly sizeBytes?: bigint;
}

export interface EncryptTarget extends CopyTarget {
  /** 512, when left out. */
  readonly sectorSize?: 512 | 4096;
}

/** A source that is read in whole sectors; what it lacks of its last one is zeros. */
interface Source {
  readonly place: Place;
  readonly sizeBytes: bigint;
}

/**
 * A new encrypted disk with what the plain file or block device holds; with `discard` its holes stay holes. Fails with
 * DISK_*, CONVERT_* or the provider's failure; then nothing was made, and the source is as it was in any case.
 */
export async function encryptTo(
  plainPath: string,
  target: EncryptTarget,
  provider: KeyProvider,
  options: BulkOptions,
): Promise<CreatedDisk> {
  return withHeld(plainPath, 'read', (plain) => encryptHeld(plain, target, provider, options));
}

/** As `encryptTo`, of a plain file that the caller holds. */
export async function encryptHeld(
  plain: Held,
  target: EncryptTarget,
  provider: KeyProvider,
  options: BulkOptions,
): Promise<CreatedDisk> {
  await checkPlain(plain);
  const { path, sizeBytes } = plain;
  const sectorSize = target.sectorSize ?? CONVERTED_SECTOR_BYTES;
  const place = { path, fd: plain.file.fd, offsetBytes: 0n, sectorSize };
  return copyInto({ ...target, sectorSize }, { place, sizeBytes }, provider, options);
}

/** Reads both from the storage: CONVERT_DIFFERS unless `disk` begins with all that the plain file holds. */
export async function compareHeld(
  plain: Held,
  disk: DiskDescription,
  provider: KeyProvider,
  options: BulkOptions,
): Promise<void> {
  const { path, offsetBytes, sectorSize, holes } = disk;
  const { sizeBytes: fromBytes } = plain;
  const sizeBytes = wholeSectors(fromBytes, sectorSize);
  if (sizeBytes > disk.sizeBytes) fail('CONVERT_DIFFERS', { path, atBytes: disk.sizeBytes });
  const file = await openBacking(path, 'read');
  try {
    const key = await unwrapDataKey(disk.header, provider, options);
    try {
      const from = { path: plain.path, fd: plain.file.fd, offsetBytes: 0n, sectorSize };
      const to = { path, fd: file.fd, offsetBytes, sectorSize, key, holes };
      const range = { from, to, beginBytes: 0n, sizeBytes, fromBytes };
      await runPiece({ ...range, work: 'compare', reread: true }, 'verify', options);
    } finally {
      key.wipe();
    }
  } finally {
    await file.close();
  }
}

/**
 * What was plain had sectors of 512 bytes for whoever used it: a partition table counts in them, and a file system with blocks
 * of 1 KiB cannot be mounted in larger ones.
 */
export const CONVERTED_SECTOR_BYTES = 512;

/**
 * A copy of an encrypted object under a fresh data key, which `targetProvider` wraps. It has holes where the object has
 * them and `target.discard` allows it. Fails as `encryptTo`, and with LUKS2_ALTERED.
 */
export async function reencryptTo(
  disk: DiskDescription,
  sourceProvider: KeyProvider,
  target: CopyTarget,
  targetProvider: KeyProvider,
  options: BulkOptions,
): Promise<CreatedDisk> {
  const { path, offsetBytes, sizeBytes, sectorSize, holes } = disk;
  const file = await openBacking(path, 'read');
  try {
    return await withLock(file.fd, path, readingLock(disk.token.object.kind), async () => {
      const key = await unwrapDataKey(disk.header, sourceProvider, options);
      try {
        const place = { path, fd: file.fd, offsetBytes, sectorSize, key, holes };
        return await copyInto({ ...target, sectorSize }, { place, sizeBytes }, targetProvider, options);
      } finally {
        key.wipe();
      }
    });
  } finally {
    await file.close();
  }
}

function copyInto(
  target: CopyTarget & { readonly sectorSize: 512 | 4096 },
  source: Source,
  provider: KeyProvider,
  options: BulkOptions,
): Promise<CreatedDisk> {
  const { sizeBytes } = source;
  const disk = { ...target, sizeBytes: max(sizeBytes, target.sizeBytes ?? 0n) };
  return createDisk(disk, provider, options.timeoutMs, (made) => fillFrom(source, made, options));
}

const max = (a: bigint, b: bigint): bigint => (a > b ? a : b);

async function fillFrom(source: Source, made: Unpublished, options: BulkOptions): Promise<void> {
  const { path, file, sectorSize, key, holes, offsetBytes } = made;
  const range = {
    from: source.place,
    to: { path, fd: file.fd, offsetBytes, sectorSize, key, holes },
    beginBytes: 0n,
    sizeBytes: wholeSectors(source.sizeBytes, sectorSize),
    fromBytes: source.sizeBytes,
    keepHoles: holes,
  };
  await runPiece({ ...range, work: 'copy' }, 'copy', options);
  await orDiskIo(path, file.datasync());
  await runPiece({ ...range, work: 'compare', reread: true }, 'verify', options);
}
