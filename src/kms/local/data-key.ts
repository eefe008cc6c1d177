/**
 * Data keys under a CMK: made and wrapped, unwrapped and judged. Plaintext and key material stand in secure memory
 * only, and the material is freed before the answer.
 */

import sodium from 'sodium-native';
import { fail } from '../../errors.js';
import type { EncryptionContext, SecretBytes } from '../provider.js';
import { peekEnvelope, unwrap, wrap } from './envelope.js';
import { type KeyRecord, openMaterial } from './record.js';
import { allocSecret, consumeSecret, freeSecret } from './secret.js';
import type { OpenStore } from './store.js';

/** A ciphertext, and the key that wrapped. */
export interface WrappedUnder {
  readonly ciphertext: Buffer;
  readonly keyId: string;
  readonly keyVersion: string;
}

/** Plaintext in secure memory, which the caller frees or hands on, and what it is wrapped as. */
export interface LocalDataKey extends WrappedUnder {
  readonly plaintext: SecretBytes;
}

/** Frees a data key that nobody gets. */
export const discard = (key: LocalDataKey): void => freeSecret(key.plaintext);

export function generateUnder(
  store: OpenStore,
  record: KeyRecord,
  sizeBytes: number,
  context: EncryptionContext,
  keyUri: string,
): LocalDataKey {
  const plaintext = allocSecret(sizeBytes);
  try {
    sodium.randombytes_buf(plaintext);
    return { plaintext, ...encryptUnder(store, record, plaintext, context, keyUri) };
  } catch (error) {
    freeSecret(plaintext);
    throw error;
  }
}

/** `plaintext` under the primary version of `record`. */
export function encryptUnder(
  store: OpenStore,
  record: KeyRecord,
  plaintext: SecretBytes,
  context: EncryptionContext,
  keyUri: string,
): WrappedUnder {
  const { keyId, primaryVersion: version } = record;
  const material = openMaterial(record, version, store.root, store.recordPath(keyId));
  if (!material) return fail('KMS_KEY_PENDING_IMPORT', { keyUri });
  const ciphertext = consumeSecret(material, () => wrap(plaintext, { keyId, version }, context, material));
  return { ciphertext, keyId, keyVersion: String(version) };
}

export function openUnder(
  store: OpenStore,
  record: KeyRecord,
  blob: Buffer,
  context: EncryptionContext,
  keyUri: string,
): LocalDataKey {
  const version = peekEnvelope(blob)?.version ?? 0;
  const material = openMaterial(record, version, store.root, store.recordPath(record.keyId));
  if (!material) fail('KMS_INVALID_CIPHERTEXT', { keyUri });
  const opened = consumeSecret(material, () => unwrap(blob, context, material));
  switch (opened.kind) {
    case 'ok':
      return {
        plaintext: opened.plaintext,
        ciphertext: blob,
        keyId: record.keyId,
        keyVersion: String(version),
      };
    case 'altered':
      return fail('KMS_INVALID_CIPHERTEXT', { keyUri });
    case 'otherContext':
      return fail('KMS_WRONG_CONTEXT', { keyUri });
  }
}
