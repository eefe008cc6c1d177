/** AES-256-XTS of Node's OpenSSL, sector by sector: somebody else's, to compare with. */

import { createCipheriv } from 'node:crypto';

/** A payload under `key` (64 bytes), as plain64 numbers its sectors. */
export function sealed(plain: Buffer, key: Buffer, sectorBytes = 4096): Buffer {
  const sectors = [];
  for (let at = 0; at < plain.length; at += sectorBytes) {
    const tweak = Buffer.alloc(16);
    tweak.writeBigUInt64LE(BigInt(at / 512));
    const cipher = createCipheriv('aes-256-xts', key, tweak);
    sectors.push(cipher.update(plain.subarray(at, at + sectorBytes)), cipher.final());
  }
  return Buffer.concat(sectors);
}
