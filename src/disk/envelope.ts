/**
 * The envelope: a disk's data key, wrapped by the KMS and bound to the disk's UUID, and the seal over its header.
 *
 * Kept true: a data key leaves here only after it has proved itself against the header (digest) and the header against
 * it (`header_mac`). The plaintext that a KMS returns is overwritten as soon as the engine holds it.
 */

import { timingSafeEqual } from 'node:crypto';
import { type DataKey, engine } from '../engine/engine.js';
import { fail } from '../errors.js';
import type {
  CallOptions,
  EncryptionContext,
  KeyProvider,
  SecretBytes,
  WrappedKey,
} from '../kms/provider.js';
import type { Luks2Header } from '../luks2/header.js';
import { macMessage } from '../luks2/mac.js';
import { digestOf } from '../luks2/metadata.js';
import { type SealdiskToken, tokenOf } from '../luks2/token.js';

export const DATA_KEY_BYTES = 64;
const MAC_LABEL = 'sealdisk header';

/** Binds a wrapped data key to one disk: moved to another, it does not unwrap. */
const contextOf = (uuid: string): EncryptionContext => ({ 'sealdisk:disk': uuid });

/** What the wrapped key of this header is bound to: its own disk, or the one that it has its data key from. */
export const contextOfHeader = (header: Luks2Header): EncryptionContext =>
  contextOf(tokenOf(header).wrappedFor || header.uuid);

/** A new data key for the disk `uuid`, and its wrapping. */
export async function generateDataKey(
  provider: KeyProvider,
  uuid: string,
  options: CallOptions,
): Promise<{ key: DataKey; wrapped: WrappedKey }> {
  const generated = await provider.generateDataKey(DATA_KEY_BYTES, contextOf(uuid), options);
  if (!isDataKey(generated.plaintext)) {
    generated.plaintext.fill(0);
    fail('KMS_BAD_REPLY', { keyUri: provider.keyUri, why: `it made no key of ${DATA_KEY_BYTES} bytes` });
  }
  return { key: engine().takeDataKey(generated.plaintext), wrapped: generated.wrapped };
}

/**
 * The data key of a disk, unwrapped by its KMS. Fails with the provider's failure, or with LUKS2_ALTERED when the key
 * and the header do not belong together; the key is wiped then.
 */
export async function unwrapDataKey(
  header: Luks2Header,
  provider: KeyProvider,
  options: CallOptions,
): Promise<DataKey> {
  const token = tokenOf(header);
  const secret = await provider.unwrap(wrappedKeyOf(token), contextOfHeader(header), options);
  if (!isDataKey(secret)) {
    secret.fill(0);
    fail('KMS_INVALID_CIPHERTEXT', { keyUri: token.keyUri });
  }
  const key = engine().takeDataKey(secret);
  try {
    await proveHeader(header, key);
    return key;
  } catch (error) {
    key.wipe();
    throw error;
  }
}

/** IEEE 1619 forbids two equal halves. */
const isDataKey = (secret: SecretBytes): boolean =>
  secret.length === DATA_KEY_BYTES &&
  !secret.subarray(0, DATA_KEY_BYTES / 2).equals(secret.subarray(DATA_KEY_BYTES / 2));

/** HMAC over what a thief of the file could twist. */
export const sealOf = (header: Luks2Header, key: DataKey): Buffer => key.hmac(MAC_LABEL, macMessage(header));

export const wrappedKeyOf = (token: SealdiskToken): WrappedKey => ({
  keyId: token.keyId,
  keyVersion: token.keyVersion,
  ciphertext: token.wrappedKey,
});

/** Fails with LUKS2_ALTERED when the key and the header do not belong together. */
export async function proveHeader(header: Luks2Header, key: DataKey): Promise<void> {
  const expected = digestOf(header);
  const digest = await key.pbkdf2Sha256(expected.salt, expected.iterations, expected.digest.length);
  if (!timingSafeEqual(digest, expected.digest)) fail('LUKS2_ALTERED', { what: 'its digest' });
  if (!timingSafeEqual(sealOf(header, key), tokenOf(header).headerMac)) {
    fail('LUKS2_ALTERED', { what: 'header_mac' });
  }
}
