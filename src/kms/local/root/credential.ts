/**
 * A key from a systemd credential: `LoadCredentialEncrypted=sealdisk-kms-root:FILE` in the unit puts it where
 * $CREDENTIALS_DIRECTORY says. It is any secret of at least 32 bytes; its keyed hash is the key.
 */

import { open } from 'node:fs/promises';
import { join } from 'node:path';
import sodium from 'sodium-native';
import { errnoOf, fail } from '../../../errors.js';
import type { SecretBytes } from '../../provider.js';
import { KEY_BYTES } from '../seal.js';
import { allocSecret } from '../secret.js';

export const CREDENTIAL = 'sealdisk-kms-root';
const MIN_BYTES = 32;
const MAX_BYTES = 64 * 1024;
const PERSONAL = Buffer.from('sealdisk kms credential 1');

/** 32 bytes in secure memory. Fails with KMS_ROOT_LOCKED when the credential is not there or too short. */
export async function keyOfCredential(env: NodeJS.ProcessEnv): Promise<SecretBytes> {
  const folder = env.CREDENTIALS_DIRECTORY;
  if (folder === undefined)
    fail('KMS_ROOT_LOCKED', { why: 'there are no systemd credentials ($CREDENTIALS_DIRECTORY)' });
  const path = join(folder, CREDENTIAL);
  const bytes = Buffer.alloc(MAX_BYTES + 1);
  try {
    const sizeBytes = await readInto(path, bytes);
    if (sizeBytes < MIN_BYTES || sizeBytes > MAX_BYTES) {
      fail('KMS_ROOT_LOCKED', {
        why: `${path} has ${sizeBytes} bytes, expected ${MIN_BYTES} to ${MAX_BYTES}`,
      });
    }
    const key = allocSecret(KEY_BYTES);
    sodium.crypto_generichash(key, bytes.subarray(0, sizeBytes), PERSONAL);
    return key;
  } finally {
    bytes.fill(0);
  }
}

async function readInto(path: string, bytes: Buffer): Promise<number> {
  try {
    const file = await open(path, 'r');
    try {
      return (await file.read(bytes, 0, bytes.length, 0)).bytesRead;
    } finally {
      await file.close();
    }
  } catch (error) {
    return fail('KMS_ROOT_LOCKED', { why: `${path}: ${errnoOf(error)}` }, error);
  }
}
