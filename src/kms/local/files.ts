/**
 * Reading the files of a store: small ones, whole, in few operations, and by what it is told that one is not the same
 * any more. By callbacks, not by promises of the file system's own: these calls stand on the path of every use of a key.
 */

import { type BigIntStats, close, open, read, stat } from 'node:fs';
import { promisify } from 'node:util';
import { errnoOf } from '../../errors.js';

const FIRST_READ_BYTES = 8 * 1024;

export const openFile = promisify(open) as (path: string, flags: number | string) => Promise<number>;
export const readFrom = promisify(read);
export const closeFile = promisify(close);
export const statOf = promisify(stat) as {
  (path: string): Promise<import('node:fs').Stats>;
  (path: string, options: { bigint: true }): Promise<BigIntStats>;
};

/** The bytes of a file that is replaced, never written in place. Fails as open and read do. */
export async function readWhole(path: string): Promise<Buffer> {
  const fd = await openFile(path, 'r');
  try {
    let bytes = Buffer.allocUnsafe(FIRST_READ_BYTES);
    for (let filled = 0; ; ) {
      const { bytesRead } = await readFrom(fd, bytes, filled, bytes.length - filled, filled);
      filled += bytesRead;
      if (filled < bytes.length) return bytes.subarray(0, filled);
      bytes = Buffer.concat([bytes], bytes.length * 2);
    }
  } finally {
    await closeFile(fd);
  }
}

/** The marks of no file. */
export const NO_FILE = 'none';

/** What tells a file from another one in its place; NO_FILE where there is none. */
export async function marksOf(path: string): Promise<string> {
  try {
    const { dev, ino, mode, size, mtimeNs, ctimeNs } = await statOf(path, { bigint: true });
    return [dev, ino, mode, size, mtimeNs, ctimeNs].join(' ');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return NO_FILE;
    throw error;
  }
}

/**
 * One answer for all who ask at once. Who asks gets the answer to a question that was put after it asked, so nothing
 * that was true before is told for now; those who ask while one is under way share the next.
 */
export class Shared<T> {
  #running: Promise<unknown> | undefined;
  #next: Promise<T> | undefined;

  constructor(private readonly question: () => Promise<T>) {}

  ask(): Promise<T> {
    this.#next ??= (this.#running ?? Promise.resolve()).then(() => {
      this.#next = undefined;
      const answer = this.question();
      const ended = answer.then(ignore, ignore).then(() => {
        if (this.#running === ended) this.#running = undefined;
      });
      this.#running = ended;
      return answer;
    });
    return this.#next;
  }
}

const ignore = (): void => undefined;
