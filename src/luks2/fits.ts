/**
 * A header against the file that it stands in.
 *
 * The segment runs from its offset to the end of the file and must be a whole number of sectors, at least one. cryptsetup
 * refuses to open anything else too, so a file that was cut short is told before its last sector is missed.
 */

import { fail } from '../errors.js';
import type { Luks2Header } from './header.js';
import { geometryOf } from './metadata.js';

/** Bytes of the segment in a file of `fileSizeBytes`; fails with LUKS2_FITS. */
export function checkFits(header: Luks2Header, fileSizeBytes: bigint): bigint {
  const { offsetBytes, sectorSize } = geometryOf(header);
  const sizeBytes = fileSizeBytes - offsetBytes;
  if (sizeBytes < BigInt(sectorSize)) {
    const expected = `at least ${offsetBytes + BigInt(sectorSize)}`;
    fail('LUKS2_FITS', { what: 'file size', found: fileSizeBytes, expected });
  }
  if (sizeBytes % BigInt(sectorSize) !== 0n) {
    fail('LUKS2_FITS', { what: 'segment size', found: sizeBytes, expected: `a multiple of ${sectorSize}` });
  }
  return sizeBytes;
}
