/**
 * The header of a new disk: no keyslot, one segment to the end of the file, one digest, one token.
 *
 * Two copies of 16 KiB, then room for keyslots up to the data at 16 MiB, so that an owner can add recovery
 * passphrases with cryptsetup luksAddKey (258048 bytes each). `writeHeader` makes its sequence id 1.
 */

import { randomUUID } from 'node:crypto';
import { BINARY_SIZE_BYTES, type Luks2Header, type Luks2Metadata } from './header.js';
import type { JsonObject } from './json.js';
import { ALLOW_DISCARDS, CIPHER, parseMetadata } from './metadata.js';
import { encodeToken, type SealdiskToken } from './token.js';

export const NEW_HDR_SIZE_BYTES = 16 * 1024;
/** Where the data begins, in new disks. */
export const NEW_OFFSET_BYTES = 16 * 1024 * 1024;

export interface NewHeader {
  readonly uuid?: string;
  readonly label?: string;
  readonly sectorSize: 512 | 4096;
  readonly digest: { readonly salt: Buffer; readonly digest: Buffer; readonly iterations: number };
  /** Its `headerMac` can only be computed over the header that this makes: begin with zeros, then `withToken`. */
  readonly token: SealdiskToken;
}

/** Fails as the reader would when a part is not what it must be. */
export function newHeader(options: NewHeader): Luks2Header {
  const metadata = parseMetadata(newMetadata(options), NEW_HDR_SIZE_BYTES) satisfies Luks2Metadata;
  return {
    uuid: options.uuid ?? randomUUID(),
    label: options.label ?? '',
    subsystem: '',
    seqid: 0n,
    hdrSizeBytes: NEW_HDR_SIZE_BYTES,
    metadata,
  };
}

function newMetadata({ sectorSize, digest, token }: NewHeader): JsonObject {
  return {
    keyslots: {},
    tokens: { 0: encodeToken(token) },
    segments: {
      0: {
        type: 'crypt',
        offset: String(NEW_OFFSET_BYTES),
        size: 'dynamic',
        iv_tweak: '0',
        encryption: CIPHER,
        sector_size: sectorSize,
      },
    },
    digests: {
      0: {
        type: 'pbkdf2',
        keyslots: [],
        segments: ['0'],
        hash: 'sha256',
        iterations: digest.iterations,
        salt: digest.salt.toString('base64'),
        digest: digest.digest.toString('base64'),
      },
    },
    config: {
      json_size: String(NEW_HDR_SIZE_BYTES - BINARY_SIZE_BYTES),
      keyslots_size: String(NEW_OFFSET_BYTES - 2 * NEW_HDR_SIZE_BYTES),
      ...(token.holes ? { flags: [ALLOW_DISCARDS] } : {}),
    },
  };
}
