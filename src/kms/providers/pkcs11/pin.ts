/**
 * The PIN of a token: read from its file for each login, and never tried again after a token has refused it.
 *
 * A token locks its PIN after some wrong ones, and a key that is asked for every few seconds would do that within a minute.
 * So a file whose PIN was refused is not read again until it has changed, and the last try before the lock is left to
 * somebody who sees what he types. PKCS#11 and its addon take a PIN as text, which nobody can overwrite.
 */

import { closeSync, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { errnoOf, fail } from '../../../errors.js';

const PIN_MAX_BYTES = 255;

export interface Pin {
  readonly text: string;
  /** Another one as soon as the file was changed. */
  readonly identity: string;
}

/** The first line of `path`. Fails with KMS_CREDENTIALS, or KMS_ACCESS_DENIED when its identity is `refused`. */
export function readPin(path: string | undefined, refused: string | undefined, keyUri: string): Pin {
  if (path === undefined) {
    return fail('KMS_CREDENTIALS', {
      keyUri,
      why: 'its token wants a PIN; name the file with it by pin-source or SEALDISK_PKCS11_PIN_FILE',
    });
  }
  const { text, stats } = read(path, keyUri);
  const identity = `${stats.dev}:${stats.ino}:${stats.size}:${stats.mtimeMs}:${stats.ctimeMs}`;
  if (refused === identity) {
    fail('KMS_ACCESS_DENIED', {
      keyUri,
      why: `the PIN in ${path} is wrong; it is not tried again until the file changes`,
    });
  }
  return { text, identity };
}

function read(path: string, keyUri: string): { text: string; stats: Stats } {
  const bytes = Buffer.alloc(PIN_MAX_BYTES + 2);
  try {
    const fd = openSync(path, 'r');
    try {
      const stats = fstatSync(fd);
      if ((stats.mode & 0o007) !== 0) {
        fail('KMS_CREDENTIALS', { keyUri, why: `everybody may use ${path}; chmod it to 600` });
      }
      const length = readSync(fd, bytes);
      const text = bytes.toString('utf8', 0, length).replace(/\r?\n[\s\S]*$/, '');
      if (text === '' || length > PIN_MAX_BYTES + 1) {
        fail('KMS_CREDENTIALS', {
          keyUri,
          why: `${path} does not hold a PIN of 1 to ${PIN_MAX_BYTES} bytes`,
        });
      }
      return { text, stats };
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error;
    return fail('KMS_CREDENTIALS', { keyUri, why: `${path}: ${errnoOf(error)}` }, error);
  } finally {
    bytes.fill(0);
  }
}
