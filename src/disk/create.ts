/**
 * Making a disk: data key from the KMS, header from the data key, file from the header.
 *
 * Kept true: the file appears under its name complete or not at all, and never in the place of another. Its payload is
 * a hole, which reads as noise, or as zeros on a disk made for discard.
 */

import { randomBytes, randomUUID } from 'node:crypto';
import { type FileHandle, link, lstat, open, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { DataKey } from '../engine/engine.js';
import { errnoOf, fail, isFailure } from '../errors.js';
import type { KeyProvider, WrappedKey } from '../kms/provider.js';
import { writeHeader } from '../luks2/copies.js';
import { NEW_OFFSET_BYTES, newHeader } from '../luks2/create.js';
import { orDiskIo } from '../luks2/file.js';
import type { Luks2Header } from '../luks2/header.js';
import { encodeToken, HEADER_MAC_SIZE_BYTES, objectIdOf, type SealdiskToken } from '../luks2/token.js';
import { generateDataKey, sealOf } from './envelope.js';

/** cryptsetup's own floor. The key is 512 random bits: iterations add nothing to that. */
const DIGEST_ITERATIONS = 1000;
const DIGEST_BYTES = 32;

export interface NewDisk {
  readonly path: string;
  /** Payload bytes; rounded up to whole sectors. */
  readonly sizeBytes: bigint;
  readonly sectorSize: 512 | 4096;
  readonly name: string;
  readonly tags: Readonly<Record<string, string>>;
  /** It may have holes from its birth on: what was never written reads as zeros. */
  readonly discard: boolean;
}

export interface CreatedDisk {
  readonly uuid: string;
  readonly path: string;
  readonly sizeBytes: bigint;
  readonly sectorSize: 512 | 4096;
  readonly keyUri: string;
  readonly keyId: string;
  readonly holes: boolean;
}

/** Makes the disk. Fails with DISK_EXISTS, DISK_LABEL, DISK_IO or the provider's failure; then nothing was made. */
export async function createDisk(
  disk: NewDisk,
  provider: KeyProvider,
  timeoutMs: number,
): Promise<CreatedDisk> {
  const sector = BigInt(disk.sectorSize);
  const sizeBytes = ((disk.sizeBytes + sector - 1n) / sector) * sector;
  const uuid = randomUUID();
  checkLabels(disk, uuid);
  const aside = await openAside(disk.path);
  try {
    await grow(aside.file, disk.path, BigInt(NEW_OFFSET_BYTES) + sizeBytes);
    const { key, wrapped } = await generateDataKey(provider, uuid, { timeoutMs });
    try {
      const header = await sealedHeader(disk, uuid, provider.keyUri, key, wrapped);
      await writeHeader(aside.file.fd, disk.path, header);
      await orDiskIo(disk.path, aside.file.sync());
    } finally {
      key.wipe();
    }
    await publish(aside.path, disk.path);
    return {
      uuid,
      path: disk.path,
      sizeBytes,
      sectorSize: disk.sectorSize,
      keyUri: provider.keyUri,
      keyId: wrapped.keyId,
      holes: disk.discard,
    };
  } finally {
    await aside.file.close();
    await rm(aside.path, { force: true });
  }
}

async function sealedHeader(
  disk: NewDisk,
  uuid: string,
  keyUri: string,
  key: DataKey,
  wrapped: WrappedKey,
): Promise<Luks2Header> {
  const salt = randomBytes(DIGEST_BYTES);
  const digest = await key.pbkdf2Sha256(salt, DIGEST_ITERATIONS, DIGEST_BYTES);
  const token = tokenFor(disk, uuid, keyUri, wrapped);
  const withMac = (headerMac: Buffer) =>
    newHeader({
      uuid,
      sectorSize: disk.sectorSize,
      digest: { salt, digest, iterations: DIGEST_ITERATIONS },
      token: { ...token, headerMac },
    });
  return withMac(sealOf(withMac(token.headerMac), key));
}

/** The token without its `headerMac`, which is computed over the header that holds it. */
const tokenFor = (disk: NewDisk, uuid: string, keyUri: string, wrapped: WrappedKey): SealdiskToken => ({
  version: 1,
  keyUri,
  keyId: wrapped.keyId,
  keyVersion: wrapped.keyVersion,
  wrappedKey: Buffer.from(wrapped.ciphertext),
  wrappedFor: '',
  object: { kind: 'disk', id: objectIdOf('disk', uuid) },
  name: disk.name,
  source: '',
  createdAt: new Date().toISOString(),
  tags: disk.tags,
  holes: disk.discard,
  generation: 0,
  headerMac: Buffer.alloc(HEADER_MAC_SIZE_BYTES),
});

/** DISK_LABEL for a name or tags that a token cannot hold, before a KMS is asked for anything. */
function checkLabels(disk: NewDisk, uuid: string): void {
  const unasked: WrappedKey = { keyId: '-', keyVersion: '-', ciphertext: Buffer.alloc(1) };
  try {
    encodeToken(tokenFor(disk, uuid, 'local:-', unasked));
  } catch (error) {
    if (isFailure(error, 'LUKS2_TOKEN')) fail('DISK_LABEL', error.facts, error);
    throw error;
  }
}

async function openAside(path: string): Promise<{ file: FileHandle; path: string }> {
  const aside = join(dirname(path), `.${basename(path)}.${randomUUID()}`);
  try {
    if (await lstat(path).catch(() => undefined)) fail('DISK_EXISTS', { path });
    return { file: await open(aside, 'wx+', 0o600), path: aside };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error;
    fail('DISK_IO', { path, errno: errnoOf(error) }, error);
  }
}

async function grow(file: FileHandle, path: string, sizeBytes: bigint): Promise<void> {
  // More than Node can say is more than any file system holds.
  if (sizeBytes > BigInt(Number.MAX_SAFE_INTEGER)) fail('DISK_IO', { path, errno: 'EFBIG' });
  await orDiskIo(path, file.truncate(Number(sizeBytes)));
}

/** link(2) refuses a name that is taken, which rename(2) would replace. */
async function publish(aside: string, path: string): Promise<void> {
  try {
    await link(aside, path);
    const folder = await open(dirname(path));
    await folder.sync().finally(() => folder.close());
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'EEXIST') fail('DISK_EXISTS', { path }, error);
    fail('DISK_IO', { path, errno }, error);
  }
}
