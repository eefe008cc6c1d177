/**
 * What a disk's file says of itself, read under a shared lock and checked against the file's length.
 *
 * Reading needs no key, so nothing here is authenticated yet: src/disk/envelope.ts does that with the data key.
 */

import { readHeader } from '../luks2/copies.js';
import { checkFits } from '../luks2/fits.js';
import type { Luks2Header } from '../luks2/header.js';
import { withLock } from '../luks2/lock.js';
import { geometryOf } from '../luks2/metadata.js';
import { type SealdiskToken, tokenOf } from '../luks2/token.js';
import { openBacking, sizeOf } from './backing.js';

export interface DiskDescription {
  readonly path: string;
  readonly header: Luks2Header;
  readonly token: SealdiskToken;
  readonly sectorSize: 512 | 4096;
  /** Where the payload begins in the file. */
  readonly offsetBytes: bigint;
  /** Payload bytes, a multiple of `sectorSize`. */
  readonly sizeBytes: bigint;
  /** A sector whose ciphertext is all zero bytes reads as zeros. */
  readonly holes: boolean;
  /** The header copy that is bad and can be made again from the other. */
  readonly repair: 'none' | 'primary' | 'secondary';
}

/** Reads and checks the header of the disk at `path`. Fails with DISK_* or LUKS2_*; changes nothing. */
export async function readDisk(path: string): Promise<DiskDescription> {
  const file = await openBacking(path, 'read');
  try {
    return await withLock(file.fd, path, 'shared', async () => {
      const { header, repair } = await readHeader(file.fd, path);
      const fileBytes = await sizeOf(file, path);
      checkFits(header, fileBytes);
      const { offsetBytes, sectorSize } = geometryOf(header);
      const room = fileBytes - offsetBytes;
      const sizeBytes = room - (room % BigInt(sectorSize));
      const token = tokenOf(header);
      const { holes } = token;
      return { path, header, token, sectorSize, offsetBytes, sizeBytes, holes, repair };
    });
  } finally {
    await file.close();
  }
}
