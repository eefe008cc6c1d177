/**
 * The audit log: one JSON object a line in `<dir>/audit.log`, who did what with which key, and how it ended.
 *
 * No key byte and no ciphertext ever stands in it. A line is one write to a file opened for appending, so processes do
 * not tear each other's lines. A change is answered only when its line is on stable storage, and an operation whose
 * line cannot be written is refused: a key is not used unseen.
 */

import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import type { EncryptionContext } from '../provider.js';

export interface AuditEntry {
  readonly operation: string;
  /** The key's id, or what the caller called it when it was not found. */
  readonly key: string;
  /** `ok`, or the code of the failure. */
  readonly outcome: string;
  /** Who asked: an access key, or a user of this machine when left out. */
  readonly who?: string;
  readonly context?: EncryptionContext;
}

/** Appends a line; with `durable` it resolves when the line is on stable storage. */
export async function appendAudit(dir: string, entry: AuditEntry, durable: boolean): Promise<void> {
  const line = JSON.stringify({
    time: new Date().toISOString(),
    ...entry,
    pid: process.pid,
    uid: process.getuid?.() ?? null,
  });
  const flags = constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW;
  const file = await open(join(dir, 'audit.log'), flags, 0o600);
  try {
    const { size } = await file.stat();
    const last = Buffer.alloc(1);
    if (size > 0) await file.read(last, 0, 1, size - 1);
    // A line that a power failure cut short keeps its place; ours begins on the next.
    const begin = size > 0 && last[0] !== 0x0a ? '\n' : '';
    await file.write(Buffer.from(`${begin}${line}\n`));
    if (durable) await file.sync();
  } finally {
    await file.close();
  }
}
