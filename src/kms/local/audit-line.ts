/**
 * A line of the audit log: what it holds, and its text. The hash of a line is over its bytes without the line end.
 */

import { createHash } from 'node:crypto';
import type { EncryptionContext } from '../provider.js';

export interface AuditEntry {
  readonly operation: string;
  /** The key's id, or what the caller called it when it was not found. */
  readonly key: string;
  /** Of a ciphertext that was wrapped anew: the id of the key that had wrapped it. */
  readonly source?: string;
  /** `ok`, or the code of the failure. */
  readonly outcome: string;
  /** Who asked: an access key, or a user of this machine when left out. */
  readonly who?: string;
  readonly context?: EncryptionContext;
}

/**
 * What a writer found when it took the log up where another one had left it: lines without a head over them, for they
 * were written just before their writer was killed (`unsealed`); a last line that was not whole (`torn`); lines that the
 * head knew and that are gone (`lost`), all of them after the last sync before the machine was started anew
 * (`powerFailure`) or not; a head that is gone (`headless`).
 */
export interface Repair {
  readonly unsealed: number;
  readonly torn: boolean;
  readonly lost: number;
  readonly powerFailure: boolean;
  readonly headless: boolean;
}

export const REPAIR_OPERATION = 'AuditRepair';

/** A line as it is read. */
export interface AuditLine extends AuditEntry {
  readonly seq: number;
  readonly time: string;
  readonly who: string;
  readonly pid: number;
  readonly uid: number | null;
  readonly prev: string;
  readonly repair?: Repair;
}

const uid = process.getuid?.() ?? null;

/** The text of a line, without its line end. */
export function lineOf(
  entry: AuditEntry & { repair?: Repair },
  time: string,
  seq: number,
  prev: string,
): string {
  const { who = `uid ${uid}`, ...rest } = entry;
  return JSON.stringify({ seq, time, who, ...rest, pid: process.pid, uid, prev });
}

export const hashOf = (line: string | Buffer): string => createHash('sha256').update(line).digest('hex');
