/**
 * Memory for key bytes: outside the V8 heap, locked, left out of core files, wiped when it is freed.
 *
 * libsodium's allocator goes on without a word when memory cannot be locked, hence the second mlock here: a key is
 * never held in memory that can be swapped out.
 */

import sodium from 'sodium-native';
import { fail } from '../../errors.js';
import type { SecretBytes } from '../provider.js';

// The published types are older than this function.
const { sodium_free } = sodium as unknown as { sodium_free(buffer: Buffer): void };

/** `sizeBytes` of secure memory. Whoever receives it frees it. */
export function allocSecret(sizeBytes: number): SecretBytes {
  const secret = sodium.sodium_malloc(sizeBytes);
  try {
    sodium.sodium_mlock(secret);
  } catch (error) {
    fail('KMS_STORE', { path: 'secure memory', why: 'memory cannot be locked (ulimit -l)' }, error);
  }
  return secret;
}

/** Another copy; whoever receives it frees it. */
export function copyOf(secret: SecretBytes): SecretBytes {
  const copy = allocSecret(secret.length);
  secret.copy(copy);
  return copy;
}

/** Overwrites and frees. Twice is fine. */
export function freeSecret(secret: SecretBytes | undefined): void {
  if (secret === undefined || secret.length === 0) return;
  sodium.sodium_memzero(secret);
  sodium_free(secret);
}

/** Runs `use` with `secret` and frees it on every way out. */
export function consumeSecret<T>(secret: SecretBytes, use: (secret: SecretBytes) => T): T {
  try {
    return use(secret);
  } finally {
    freeSecret(secret);
  }
}
