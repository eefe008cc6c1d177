/**
 * A look at one key: whether its record still is what was read last. That is asked every few seconds for as long as a
 * disk is served, and costs a fraction of a read: no root key is loaded, no secure memory taken, nothing opened.
 *
 * Kept true: the record itself is compared, byte by byte, not its times; it is sealed under a fresh nonce at each write,
 * so equal bytes are the same decision. What it is read by, the root key and the folder's mode, is compared by its
 * marks. Anything else than all the same, and every failure, leads to a read as at the first time. No key is held: the
 * bytes are the sealed box.
 */

import { join } from 'node:path';
import { closeFile, openFile, readFrom, statOf } from './files.js';
import { rootMarks } from './root/held.js';

/** More than any record: what is longer is read every time. */
const RECORD_MAX_BYTES = 64 * 1024;

/** What is compared. */
interface Seen {
  readonly marks: string;
  readonly record: Buffer;
}

export class KeyLook<T> {
  #last: { readonly seen: Seen; readonly value: T } | undefined;

  constructor(
    private readonly dir: string,
    private readonly keyId: string,
  ) {}

  /** What `read` gave last while nothing has changed; else what it gives, or fails with, now. */
  async at(read: () => Promise<T>): Promise<T> {
    const seen = await this.#look().catch(() => undefined);
    const last = this.#last;
    if (seen && last && seen.marks === last.seen.marks && seen.record.equals(last.seen.record))
      return last.value;
    this.#last = undefined;
    const value = await read();
    // Looked at before it was read: what changes in between is another thing at the next look.
    this.#last = seen && { seen, value };
    return value;
  }

  async #look(): Promise<Seen | undefined> {
    const [folder, root, record] = await Promise.all([statOf(this.dir), rootMarks(this.dir), this.#record()]);
    return record && { marks: `${folder.mode} ${root}`, record };
  }

  /** Opened, not only asked for: a network file system then asks its server. */
  async #record(): Promise<Buffer | undefined> {
    const fd = await openFile(join(this.dir, 'keys', this.keyId), 'r');
    try {
      const bytes = Buffer.allocUnsafe(this.#last ? this.#last.seen.record.length + 1 : RECORD_MAX_BYTES);
      const { bytesRead } = await readFrom(fd, bytes, 0, bytes.length, 0);
      return bytesRead < bytes.length ? bytes.subarray(0, bytesRead) : undefined;
    } finally {
      await closeFile(fd);
    }
  }
}
