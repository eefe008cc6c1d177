/**
 * The audit log: one JSON object a line in `<dir>/audit.log`, who did what with which key, and how it ended.
 *
 * Each line has its number (`seq`) and the SHA-256 of the line before (`prev`), and audit.head says which one is the
 * last; so a line that was altered, taken out or cut off shows (audit-verify.ts). No key byte and no ciphertext ever
 * stands in it. A change is answered only when its line is on stable storage, and an operation whose line cannot be
 * written is refused: a key is not used unseen.
 */

import type { AuditEntry } from './audit-line.js';
import { logOf } from './audit-log.js';

export type { AuditEntry };

/** Appends a line; with `durable` it resolves when the line is on stable storage. */
export function appendAudit(dir: string, entry: AuditEntry, durable: boolean): Promise<void> {
  return logOf(dir).append(entry, durable);
}
