/**
 * A key from a passphrase, by Argon2id. The passphrase comes from a file (SEALDISK_KMS_PASSPHRASE_FILE), or is asked for
 * by whoever has a terminal (`onPassphraseNeeded`); it stands in secure memory, and what it came in is overwritten.
 * A line end after it is no part of it.
 */

import { randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';
import sodium from 'sodium-native';
import { errnoOf, fail, isFailure } from '../../../errors.js';
import type { SecretBytes } from '../../provider.js';
import { KEY_BYTES } from '../seal.js';
import { allocSecret, freeSecret } from '../secret.js';
import type { Argon2 } from './description.js';

export const PASSPHRASE_FILE = 'SEALDISK_KMS_PASSPHRASE_FILE';
const PASSPHRASE_MAX_BYTES = 4096;
/** More than this is not asked of a machine, whatever a file says. */
const MEMORY_MAX_BYTES = 4 * 1024 ** 3;
const PASSES_MAX = 64;
const NEWLINE = 0x0a;

/** What the passphrase is for: the line that is asked. `twice` for a new one. */
export interface Question {
  readonly text: string;
  readonly twice: boolean;
}
type Asker = (question: Question) => Promise<SecretBytes>;
let asker: Asker | undefined;

/** Told once, by the command line: how a person is asked. */
export function onPassphraseNeeded(ask: Asker): void {
  asker = ask;
}

/** The passphrase in secure memory, from `file`, else from a person. Fails with KMS_ROOT_LOCKED. */
export async function passphraseFrom(file: string | undefined, question: Question): Promise<SecretBytes> {
  if (file !== undefined && file !== '') return readPassphrase(file);
  if (asker !== undefined) return asker(question);
  return fail('KMS_ROOT_LOCKED', { why: `its passphrase is not at hand (${PASSPHRASE_FILE} names no file)` });
}

async function readPassphrase(path: string): Promise<SecretBytes> {
  const bytes = Buffer.alloc(PASSPHRASE_MAX_BYTES + 1);
  try {
    let filled = 0;
    const file = await open(path, 'r');
    try {
      for (let more = 1; more > 0 && filled < bytes.length; filled += more) {
        more = (await file.read(bytes, filled, bytes.length - filled, null)).bytesRead;
      }
    } finally {
      await file.close();
    }
    return secretText(bytes.subarray(0, filled), path);
  } catch (error) {
    if (isFailure(error)) throw error;
    return fail('KMS_ROOT_LOCKED', { why: `passphrase file ${path}: ${errnoOf(error)}` }, error);
  } finally {
    bytes.fill(0);
  }
}

/** A copy of `text` without its line end, in secure memory. The caller overwrites `text`. */
export function secretText(text: Buffer, from: string): SecretBytes {
  const sizeBytes = text.at(-1) === NEWLINE ? text.length - 1 : text.length;
  if (sizeBytes < 1 || sizeBytes > PASSPHRASE_MAX_BYTES) {
    fail('KMS_ROOT_LOCKED', {
      why: `the passphrase of ${from} is empty, or has over ${PASSPHRASE_MAX_BYTES} bytes`,
    });
  }
  const secret = allocSecret(sizeBytes);
  text.copy(secret, 0, 0, sizeBytes);
  return secret;
}

/** What libsodium calls moderate: 256 MiB and about a second. */
export const newArgon2 = (): Argon2 => ({
  salt: randomBytes(sodium.crypto_pwhash_SALTBYTES).toString('base64'),
  passes: sodium.crypto_pwhash_OPSLIMIT_MODERATE,
  memoryBytes: sodium.crypto_pwhash_MEMLIMIT_MODERATE,
});

/** 32 bytes in secure memory of `passphrase`, which is freed. Fails with KMS_ROOT_LOCKED where memory is short. */
export async function stretch(passphrase: SecretBytes, argon2: Argon2): Promise<SecretBytes> {
  const salt = Buffer.from(argon2.salt, 'base64');
  const { passes, memoryBytes } = argon2;
  const key = allocSecret(KEY_BYTES);
  try {
    if (
      salt.length !== sodium.crypto_pwhash_SALTBYTES ||
      !within(passes, PASSES_MAX) ||
      !within(memoryBytes, MEMORY_MAX_BYTES)
    ) {
      fail('KMS_ROOT_LOCKED', { why: 'what is recorded for its passphrase is out of bounds' });
    }
    const algorithm = sodium.crypto_pwhash_ALG_ARGON2ID13;
    const { crypto_pwhash_async: pwhash } = sodium as unknown as {
      crypto_pwhash_async(...args: unknown[]): void;
    };
    await new Promise<void>((done, failed) =>
      pwhash(key, passphrase, salt, passes, memoryBytes, algorithm, (error: Error | null) =>
        error ? failed(error) : done(),
      ),
    );
    return key;
  } catch (error) {
    freeSecret(key);
    if (isFailure(error)) throw error;
    return fail(
      'KMS_ROOT_LOCKED',
      { why: `Argon2id could not take its ${memoryBytes} bytes of memory` },
      error,
    );
  } finally {
    freeSecret(passphrase);
  }
}

const within = (value: number, max: number): boolean =>
  Number.isSafeInteger(value) && value >= 1 && value <= max;
