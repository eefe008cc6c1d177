/**
 * A root key in a file: 32 random bytes in `<dir>/root.key` (`root.N.key` after a rotation), mode 0600.
 *
 * It goes from the file straight into secure memory. A file that others can read, that is no plain file, or that has
 * another length is refused, never repaired: the records are lost without it, so a person must look.
 */

import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import sodium from 'sodium-native';
import { errnoOf, fail } from '../../errors.js';
import type { SecretBytes } from '../provider.js';
import { shred, writeDurably } from './durable.js';
import { KEY_BYTES } from './seal.js';
import { allocSecret, freeSecret } from './secret.js';

export const ROOT_FILE = 'root.key';
export const ROOT_FILES = /^root(\.[0-9]+)?\.key$/;

/** The root key in secure memory; the caller frees it. Fails with KMS_STORE, or ENOENT when there is none. */
export async function loadRootKey(dir: string, name = ROOT_FILE): Promise<SecretBytes> {
  const path = join(dir, name);
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const stat = await file.stat();
    if (!stat.isFile()) fail('KMS_STORE', { path, why: 'it is not a plain file' });
    if (stat.mode & 0o077) {
      fail('KMS_STORE', { path, why: `its mode is ${(stat.mode & 0o777).toString(8)}, expected 600` });
    }
    if (stat.size !== KEY_BYTES) {
      fail('KMS_STORE', { path, why: `it has ${stat.size} bytes, expected ${KEY_BYTES}` });
    }
    const key = allocSecret(KEY_BYTES);
    try {
      const { bytesRead } = await file.read(key, 0, KEY_BYTES, 0);
      if (bytesRead !== KEY_BYTES) fail('KMS_STORE', { path, why: `${bytesRead} bytes could be read` });
      return key;
    } catch (error) {
      freeSecret(key);
      throw error;
    }
  } finally {
    await file.close();
  }
}

/** A fresh root key; the caller frees it. */
export function newRootKey(): SecretBytes {
  const key = allocSecret(KEY_BYTES);
  sodium.randombytes_buf(key);
  return key;
}

/** Makes a root key. The caller holds the lock and has seen that there is none. */
export async function makeRootKey(dir: string): Promise<void> {
  const key = newRootKey();
  try {
    await writeDurably(join(dir, ROOT_FILE), key);
  } finally {
    freeSecret(key);
  }
}

/** Overwrites the file and removes it, if it is there. */
export async function destroyRootFile(dir: string, name: string): Promise<void> {
  await shred(join(dir, name)).catch((error) => {
    if (errnoOf(error) !== 'ENOENT') throw error;
  });
}
