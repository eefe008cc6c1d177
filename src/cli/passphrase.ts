/** Asks for a passphrase on the terminal, without showing it. It never becomes a string: strings cannot be wiped. */

import { open } from 'node:fs/promises';
import { ReadStream } from 'node:tty';
import { fail } from '../errors.js';
import { onPassphraseNeeded, type Question, secretText } from '../kms/local/root/passphrase.js';
import { freeSecret } from '../kms/local/secret.js';
import type { SecretBytes } from '../kms/provider.js';

const ENTER = [0x0d, 0x0a, 0x04];
const INTERRUPT = 0x03;
const ERASE = [0x7f, 0x08];
const LINE_MAX_BYTES = 4096;

/** From now on the terminal is asked where no file gives a passphrase. */
export function askOnTerminal(): void {
  if (process.stdin.isTTY) onPassphraseNeeded(askPassphrase);
}

/** Fails with KMS_ROOT_LOCKED when two answers differ, with NOT_CONFIRMED at Ctrl-C. */
export async function askPassphrase({ text, twice }: Question): Promise<SecretBytes> {
  const first = await ask(`${text}: `);
  if (!twice) return first;
  const second = await ask('The same again: ');
  const same = first.equals(second);
  freeSecret(second);
  if (same) return first;
  freeSecret(first);
  return fail('KMS_ROOT_LOCKED', { why: 'the two passphrases differ' });
}

async function ask(prompt: string): Promise<SecretBytes> {
  const file = await open('/dev/tty', 'r');
  const terminal = new ReadStream(file.fd);
  const line = Buffer.alloc(LINE_MAX_BYTES);
  process.stderr.write(prompt);
  terminal.setRawMode(true);
  try {
    const sizeBytes = await new Promise<number>((done) => {
      let filled = 0;
      terminal.on('data', (typed: Buffer) => {
        for (const byte of typed) {
          if (byte === INTERRUPT) return done(-1);
          if (ENTER.includes(byte)) return done(filled);
          if (ERASE.includes(byte)) filled = Math.max(0, filled - 1);
          else if (filled < line.length) line[filled++] = byte;
        }
        typed.fill(0);
      });
    });
    if (sizeBytes < 0) fail('NOT_CONFIRMED', { what: 'passphrase' });
    return secretText(line.subarray(0, sizeBytes), 'the terminal');
  } finally {
    line.fill(0);
    terminal.setRawMode(false);
    terminal.destroy();
    process.stderr.write('\n');
  }
}
