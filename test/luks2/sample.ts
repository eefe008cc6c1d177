/** A disk's header as the tests need it: a data key of the test's own, and what sealdisk would make of it. */

import { createHmac, hkdfSync, pbkdf2Sync } from 'node:crypto';
import { newHeader } from '#sealdisk/luks2/create.js';
import type { Luks2Header } from '#sealdisk/luks2/header.js';
import { HEADER_MAC_LABEL, macMessage } from '#sealdisk/luks2/mac.js';
import { type SealdiskToken, withToken } from '#sealdisk/luks2/token.js';

export const UUID = '0b5f4e62-9d0c-4f37-8a57-0c3a6c3e7a11';
export const DATA_KEY = Buffer.from(Array.from({ length: 64 }, (_, i) => (i * 37 + 11) % 256));
export const SALT = Buffer.alloc(32, 0x5a);
export const ITERATIONS = 1000;
export const OFFSET_BYTES = 16 * 1024 * 1024;

export const sampleToken = (changes: Partial<SealdiskToken> = {}): SealdiskToken => ({
  version: 1,
  keyUri: 'local:alias/acs/ecs',
  keyId: '7c1e3a52-2b7d-4c5b-9a55-6f0e1d2c3b4a',
  keyVersion: '1',
  wrappedKey: Buffer.alloc(120, 0x17),
  wrappedFor: '',
  object: { kind: 'disk', id: UUID },
  name: 'data',
  source: '',
  createdAt: '2026-01-31T12:00:00.000Z',
  tags: { team: 'storage' },
  holes: false,
  generation: 0,
  headerMac: Buffer.alloc(32),
  ...changes,
});

export interface Sample {
  readonly sectorSize?: 512 | 4096;
  readonly dataKey?: Buffer;
  readonly token?: Partial<SealdiskToken>;
  readonly label?: string;
}

/** A new header with the digest of `dataKey` and a right `headerMac`; sequence id 0, as before its first write. */
export function sampleHeader({
  sectorSize = 4096,
  dataKey = DATA_KEY,
  token,
  label = '',
}: Sample = {}): Luks2Header {
  const digest = pbkdf2Sync(dataKey, SALT, ITERATIONS, 32, 'sha256');
  const header = newHeader({
    uuid: UUID,
    label,
    sectorSize,
    digest: { salt: SALT, digest, iterations: ITERATIONS },
    token: sampleToken(token),
  });
  return withToken(header, sampleToken({ ...token, headerMac: macOf(header, dataKey) }));
}

/** The MAC that the engine computes in production. */
export function macOf(header: Luks2Header, dataKey: Buffer = DATA_KEY): Buffer {
  const key = Buffer.from(hkdfSync('sha256', dataKey, Buffer.alloc(0), HEADER_MAC_LABEL, 32));
  return createHmac('sha256', key).update(macMessage(header)).digest();
}
