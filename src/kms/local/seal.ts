/**
 * Sealing: XChaCha20-Poly1305 of a record under the root key.
 *
 *   box = nonce (24) | ciphertext | tag (16)
 *
 * The additional data binds what kind of record it is and which one (`label`), so that a box that was swapped with
 * another, renamed or altered does not open.
 */

import sodium from 'sodium-native';
import type { SecretBytes } from '../provider.js';
import { allocSecret, freeSecret } from './secret.js';

export const NONCE_BYTES = sodium.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES;
export const TAG_BYTES = sodium.crypto_aead_xchacha20poly1305_ietf_ABYTES;
export const KEY_BYTES = sodium.crypto_aead_xchacha20poly1305_ietf_KEYBYTES;

/** The box of `plain` under `key`, bound to `additional`. `plain` may be secure memory: it is only read. */
export function seal(plain: Buffer, additional: Buffer, key: SecretBytes): Buffer {
  const box = Buffer.alloc(NONCE_BYTES + plain.length + TAG_BYTES);
  const nonce = box.subarray(0, NONCE_BYTES);
  sodium.randombytes_buf(nonce);
  sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(
    box.subarray(NONCE_BYTES),
    plain,
    additional,
    null,
    nonce,
    key,
  );
  return box;
}

/** The plaintext of `box` in secure memory, or undefined when it does not open under `key` and `additional`. */
export function unsealSecret(box: Buffer, additional: Buffer, key: SecretBytes): SecretBytes | undefined {
  if (box.length <= NONCE_BYTES + TAG_BYTES) return undefined;
  const plain = allocSecret(box.length - NONCE_BYTES - TAG_BYTES);
  if (decryptInto(plain, box, additional, key)) return plain;
  freeSecret(plain);
  return undefined;
}

/** As `unsealSecret`, in ordinary memory: for what is private, but no key. */
export function unsealPlain(box: Buffer, additional: Buffer, key: SecretBytes): Buffer | undefined {
  if (box.length <= NONCE_BYTES + TAG_BYTES) return undefined;
  const plain = Buffer.alloc(box.length - NONCE_BYTES - TAG_BYTES);
  return decryptInto(plain, box, additional, key) ? plain : undefined;
}

function decryptInto(plain: Buffer, box: Buffer, additional: Buffer, key: SecretBytes): boolean {
  try {
    sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(
      plain,
      null,
      box.subarray(NONCE_BYTES),
      additional,
      box.subarray(0, NONCE_BYTES),
      key,
    );
    return true;
  } catch {
    return false; // the one failure that the primitive has, lengths being right by construction
  }
}
