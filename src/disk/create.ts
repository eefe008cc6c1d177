/**
 * Making a disk: data key from the KMS, header from the data key, file from the header.
 *
 * Kept true: the file appears under its name complete or not at all, and never in the place of another. Its payload is
 * a hole, which reads as noise, or as zeros on a disk made for discard.
 */

import { randomBytes, randomUUID } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import type { DataKey } from '../engine/engine.js';
import { fail, isFailure } from '../errors.js';
import type { KeyProvider, WrappedKey } from '../kms/provider.js';
import { writeHeader } from '../luks2/copies.js';
import { NEW_OFFSET_BYTES, type NewHeader, newHeader } from '../luks2/create.js';
import type { Luks2Header } from '../luks2/header.js';
import { type ObjectKind, objectIdOf } from '../luks2/label.js';
import { encodeToken, HEADER_MAC_SIZE_BYTES, type SealdiskToken } from '../luks2/token.js';
import { madeAside } from './aside.js';
import { generateDataKey, sealOf } from './envelope.js';
import { setFileSize } from './file-size.js';

/** cryptsetup's own floor. The key is 512 random bits: iterations add nothing to that. */
const DIGEST_ITERATIONS = 1000;
const DIGEST_BYTES = 32;

export interface NewDisk {
  readonly path: string;
  /** A disk, when left out. */
  readonly kind?: ObjectKind;
  /** Id of what it is made from; from nothing, when left out. */
  readonly source?: string;
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

/** A disk that has its key and its header, and no name yet. */
export interface Unpublished {
  readonly file: FileHandle;
  /** The name that it is to have. */
  readonly path: string;
  /** Wiped when the disk is made. */
  readonly key: DataKey;
  /** Of the payload in the file. */
  readonly offsetBytes: bigint;
  readonly sizeBytes: bigint;
  readonly sectorSize: 512 | 4096;
  readonly holes: boolean;
}

/**
 * Makes the disk, with what `fill` puts into its payload. Fails with DISK_EXISTS, DISK_LABEL, DISK_IO, the provider's
 * failure or that of `fill`; then nothing was made.
 */
export async function createDisk(
  disk: NewDisk,
  provider: KeyProvider,
  timeoutMs: number,
  fill: (disk: Unpublished) => Promise<void> = async () => {},
): Promise<CreatedDisk> {
  const { path, sectorSize, discard: holes } = disk;
  const sizeBytes = wholeSectors(disk.sizeBytes, sectorSize);
  const uuid = randomUUID();
  checkLabels(disk, uuid);
  return madeAside(path, async ({ file }) => {
    const offsetBytes = BigInt(NEW_OFFSET_BYTES);
    await setFileSize(file, path, offsetBytes + sizeBytes);
    const { key, wrapped } = await generateDataKey(provider, uuid, { timeoutMs });
    try {
      const header = await sealedHeader(disk, uuid, provider.keyUri, key, wrapped);
      await writeHeader(file.fd, path, header);
      await fill({ file, path, key, offsetBytes, sizeBytes, sectorSize, holes });
    } finally {
      key.wipe();
    }
    const { keyUri } = provider;
    return { uuid, path, sizeBytes, sectorSize, keyUri, keyId: wrapped.keyId, holes };
  });
}

/** `bytes`, rounded up. */
export const wholeSectors = (bytes: bigint, sectorSize: number): bigint => {
  const sector = BigInt(sectorSize);
  return ((bytes + sector - 1n) / sector) * sector;
};

/** The digest by which a header knows `key`, over fresh salt. */
export async function digestFor(key: DataKey): Promise<NewHeader['digest']> {
  const salt = randomBytes(DIGEST_BYTES);
  const digest = await key.pbkdf2Sha256(salt, DIGEST_ITERATIONS, DIGEST_BYTES);
  return { salt, digest, iterations: DIGEST_ITERATIONS };
}

/** The header of a new disk, proved by its key; not written yet. */
export async function sealedHeader(
  disk: NewDisk,
  uuid: string,
  keyUri: string,
  key: DataKey,
  wrapped: WrappedKey,
): Promise<Luks2Header> {
  const digest = await digestFor(key);
  const token = tokenFor(disk, uuid, keyUri, wrapped);
  const { sectorSize } = disk;
  const withMac = (headerMac: Buffer) =>
    newHeader({ uuid, sectorSize, digest, token: { ...token, headerMac } });
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
  object: { kind: disk.kind ?? 'disk', id: objectIdOf(disk.kind ?? 'disk', uuid) },
  name: disk.name,
  source: disk.source ?? '',
  createdAt: new Date().toISOString(),
  tags: disk.tags,
  holes: disk.discard,
  generation: 0,
  headerMac: Buffer.alloc(HEADER_MAC_SIZE_BYTES),
});

/** DISK_LABEL for a name or tags that a token cannot hold, before a KMS is asked for anything. */
export function checkLabels(disk: NewDisk, uuid: string): void {
  const unasked: WrappedKey = { keyId: '-', keyVersion: '-', ciphertext: Buffer.alloc(1) };
  try {
    encodeToken(tokenFor(disk, uuid, 'local:-', unasked));
  } catch (error) {
    if (isFailure(error, 'LUKS2_TOKEN')) fail('DISK_LABEL', error.facts, error);
    throw error;
  }
}
