/**
 * A recovery passphrase, from a file or the terminal, in secure memory.
 *
 * Of a file it is the first line, without its end: what cryptsetup takes from standard input, and what somebody types.
 */

import { closeSync, openSync, readSync } from 'node:fs';
import { PASSPHRASE_MAX_BYTES } from '../disk/recover.js';
import { errnoOf, fail } from '../errors.js';
import { allocSecret, freeSecret } from '../kms/local/secret.js';
import type { SecretBytes } from '../kms/provider.js';
import { askPassphrase } from './passphrase.js';

const NEWLINE = 0x0a;

/** The passphrase in `file`, or what is typed, twice with `twice`. The caller frees it. USAGE, DISK_IO. */
export async function readPassphrase(file: string | undefined, twice: boolean): Promise<SecretBytes> {
  if (file !== undefined) return firstLine(file);
  if (!process.stdin.isTTY) {
    fail('USAGE', { what: 'found no terminal to ask on, expected --passphrase-file' });
  }
  const passphrase = await askPassphrase({ text: 'Recovery passphrase', twice });
  return taken(passphrase, passphrase.length);
}

function firstLine(path: string): SecretBytes {
  const room = allocSecret(PASSPHRASE_MAX_BYTES + 2);
  let sizeBytes = 0;
  try {
    const fd = openSync(path, 'r');
    try {
      for (let got = 1; got > 0 && sizeBytes < room.length; sizeBytes += got) {
        got = readSync(fd, room, sizeBytes, room.length - sizeBytes, null);
      }
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    freeSecret(room);
    return fail('DISK_IO', { path, errno: errnoOf(error) }, error);
  }
  const end = room.subarray(0, sizeBytes).indexOf(NEWLINE);
  return taken(room, end < 0 ? sizeBytes : end);
}

/** The first `sizeBytes` of `room`, which is freed. */
function taken(room: SecretBytes, sizeBytes: number): SecretBytes {
  try {
    if (sizeBytes < 1 || sizeBytes > PASSPHRASE_MAX_BYTES) {
      const found = sizeBytes === 0 ? 'is empty' : 'is longer';
      fail('USAGE', {
        what: `the passphrase ${found}, expected 1 to ${PASSPHRASE_MAX_BYTES} bytes in a line`,
      });
    }
    const passphrase = allocSecret(sizeBytes);
    room.copy(passphrase, 0, 0, sizeBytes);
    return passphrase;
  } finally {
    freeSecret(room);
  }
}
