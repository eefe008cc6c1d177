/**
 * A data key wrapped by AES-GCM of a KMS that only encrypts and decrypts: the bytes that a disk's token keeps.
 *
 *   0   magic "SDG"           3
 *   3   format 1              1
 *   4   nonce                12
 *   16  ciphertext, tag    n+16
 *
 * The additional data is bytes 0 to 3 and the encryption context as src/kms/context.ts spells it. Nonces are random: 96 bits are enough for the
 * 2^32 data keys that NIST SP 800-38D (8.3) allows one key.
 */

import { contextBytes } from '../context.js';
import type { EncryptionContext } from '../provider.js';

export const NONCE_BYTES = 12;
export const TAG_BYTES = 16;
/** Far more than the 64 bytes of a disk's key. */
export const PLAINTEXT_MAX_BYTES = 1024;

const MAGIC = Buffer.from('SDG\x01', 'latin1');
const OVERHEAD_BYTES = MAGIC.length + NONCE_BYTES + TAG_BYTES;

export interface SealedKey {
  readonly nonce: Buffer;
  /** The ciphertext and behind it the tag. */
  readonly sealed: Buffer;
}

export const encodeSealed = ({ nonce, sealed }: SealedKey): Buffer => Buffer.concat([MAGIC, nonce, sealed]);

/** Undefined when `bytes` are none of ours, or longer than any of ours. */
export function decodeSealed(bytes: Uint8Array): SealedKey | undefined {
  const plainBytes = bytes.length - OVERHEAD_BYTES;
  if (plainBytes < 1 || plainBytes > PLAINTEXT_MAX_BYTES) return undefined;
  const whole = Buffer.from(bytes);
  if (!whole.subarray(0, MAGIC.length).equals(MAGIC)) return undefined;
  const sealedAt = MAGIC.length + NONCE_BYTES;
  return { nonce: whole.subarray(MAGIC.length, sealedAt), sealed: whole.subarray(sealedAt) };
}

export const additionalData = (context: EncryptionContext): Buffer =>
  Buffer.concat([MAGIC, contextBytes(context)]);
