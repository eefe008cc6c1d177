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

/** Plaintext in secure memory, which the caller frees or hands on, and the key that wraps it. */
export interface LocalDataKey {
  readonly plaintext: SecretBytes;
  readonly ciphertext: Buffer;
  readonly keyId: string;
  readonly keyVersion: string;
}

export function generateUnder(
  store: OpenStore,
  record: KeyRecord,
  sizeBytes: number,
  context: EncryptionContext,
  keyUri: string,
): LocalDataKey {
  const { keyId, primaryVersion: version } = record;
  const material = openMaterial(record, version, store.root, store.recordPath(keyId));
  if (!material) fail('KMS_KEY_PENDING_IMPORT', { keyUri });
  const plaintext = allocSecret(sizeBytes);
  try {
    sodium.randombytes_buf(plaintext);
    const ciphertext = wrap(plaintext, { keyId, version }, context, material);
    return { plaintext, ciphertext, keyId, keyVersion: String(version) };
  } catch (error) {
    freeSecret(plaintext);
    throw error;
  } finally {
    freeSecret(material);
  }
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
