/**
 * Reading an audit log: line by line, whole or filtered, and whether it is whole.
 *
 * Whole means: each line follows the one before by number and hash, and the last is the one of the sealed head. What a
 * killed writer or a power failure left is told apart from what a hand did: the next writer wrote down what it found
 * (`AuditRepair`), and lines beyond the head are those of a writer that was killed, or is about to write its head.
 * The log may be written meanwhile: it is read as far as it went at the start.
 */

import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { errnoOf } from '../../errors.js';
import { type AuditHead, lostToPower, NOTHING, readHeads } from './audit-head.js';
import { type AuditLine, hashOf, REPAIR_OPERATION } from './audit-line.js';
import { logPath } from './audit-log.js';
import { tryFlock } from './lock.js';
import { acquireRoot } from './root/held.js';

const NEWLINE = 0x0a;

export type AuditVerdict =
  | {
      readonly ok: true;
      readonly lines: number;
      /** Lines whose writers were killed before they had written the head. */
      readonly unsealed: number;
      /** Uses of keys whose lines a power failure took. */
      readonly lost: number;
    }
  | { readonly ok: false; readonly line: number; readonly why: string };

/** The lines of the log that can be read, oldest first; none where there is no log. */
export async function* readAudit(dir: string): AsyncGenerator<AuditLine> {
  for await (const text of linesOf(dir, undefined)) {
    const line = parse(text);
    if (line) yield line;
  }
}

/** Whether the log in `dir` is whole; else its first bad line, counted from 1, and why. Fails as the store does. */
export async function verifyAudit(dir: string): Promise<AuditVerdict> {
  const { head, size, torn } = await lookAtEnd(dir);
  const chain = new Chain(head);
  for await (const text of linesOf(dir, size)) {
    const why = chain.follow(text);
    if (why !== undefined) return { ok: false, line: chain.physical, why };
  }
  const why = chain.end(torn);
  if (why !== undefined) return { ok: false, line: chain.physical, why };
  const { lines, unsealed, lost } = chain;
  return { ok: true, lines, unsealed, lost };
}

/** One pass over the lines. */
class Chain {
  physical = 0;
  lines = 0;
  unsealed = 0;
  lost = 0;
  #seq = 0;
  #hash = NOTHING.hash;
  #torn = false;
  #sawHead: boolean;

  constructor(private readonly head: AuditHead | undefined) {
    this.#sawHead = head?.seq === 0;
  }

  /** Why `text` does not follow, or undefined. */
  follow(text: Buffer): string | undefined {
    this.physical += 1;
    const line = parse(text);
    const why = line === undefined ? this.#unreadable() : this.#next(line);
    this.#hash = hashOf(text);
    if (line && this.head && line.seq === this.head.seq) {
      if (this.#hash !== this.head.hash) return why ?? 'is not the one that the sealed head names';
      this.#sawHead = true;
    }
    return why;
  }

  /** Excused when the next line says that it found the log so. */
  #unreadable(): string | undefined {
    if (this.#torn) return 'is no line of an audit log';
    this.#torn = true;
    return undefined;
  }

  #next(line: AuditLine): string | undefined {
    const { repair } = line.operation === REPAIR_OPERATION ? line : {};
    if (line.prev !== this.#hash)
      return 'does not follow the line before: that one was altered, or lines are gone';
    if (this.#torn && repair?.torn !== true) return 'follows a line that is none';
    this.#torn = false;
    if (repair?.headless) return 'says that the sealed head was gone';
    if (repair && repair.lost > 0 && !repair.powerFailure) {
      return `says that ${repair.lost} lines before it were gone`;
    }
    const expected = this.#seq + 1 + (repair?.lost ?? 0);
    if (line.seq !== expected) return `has the number ${line.seq}, expected ${expected}`;
    this.#seq = line.seq;
    this.lines += 1;
    this.unsealed += repair?.unsealed ?? 0;
    this.lost += repair?.lost ?? 0;
    return undefined;
  }

  end(torn: boolean): string | undefined {
    if (this.#torn && !torn) return 'is no line of an audit log';
    if (this.head === undefined) return 'is the last, and audit.head is gone or altered';
    if (this.#seq < this.head.seq) {
      if (lostToPower(this.head, this.#seq)) {
        this.lost += this.head.seq - this.#seq;
        return undefined;
      }
      return `is the last, with the number ${this.#seq}; the sealed head says that there were ${this.head.seq}`;
    }
    if (!this.#sawHead) return 'comes after the one of the sealed head, which is not there';
    this.unsealed += this.#seq - this.head.seq;
    return undefined;
  }
}

/** The head and the length of the log at one moment, when nobody writes. */
async function lookAtEnd(dir: string): Promise<{
  head: AuditHead | undefined;
  size: number;
  /** Whether its last line has no end. */
  torn: boolean;
}> {
  const root = await acquireRoot(dir);
  try {
    const { current, old } = root.keys;
    const roots = old ? [current, old] : [current];
    const log = await open(logPath(dir), 'r').catch((error) => {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    });
    if (log === undefined) return { head: (await readHeads(dir, roots))[0]?.head, size: 0, torn: false };
    try {
      while (!tryFlock(log.fd)) await pause(1);
      const [newest] = await readHeads(dir, roots);
      const { size } = await log.stat();
      const last = Buffer.alloc(1);
      await log.read(last, 0, 1, Math.max(0, size - 1));
      return { head: newest?.head, size, torn: last[0] !== NEWLINE };
    } finally {
      await log.close();
    }
  } finally {
    root.release();
  }
}

/** The lines as bytes, without their line ends; up to `sizeBytes` of the log. */
async function* linesOf(dir: string, sizeBytes: number | undefined): AsyncGenerator<Buffer> {
  if (sizeBytes === 0) return;
  const options = sizeBytes === undefined ? {} : { end: sizeBytes - 1 };
  let rest: Buffer = Buffer.alloc(0);
  try {
    for await (const chunk of createReadStream(logPath(dir), options) as AsyncIterable<Buffer>) {
      const bytes = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk;
      let from = 0;
      for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, from)) {
        yield bytes.subarray(from, end);
        from = end + 1;
      }
      rest = bytes.subarray(from);
    }
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
  if (rest.length > 0) yield rest;
}

function parse(text: Buffer): AuditLine | undefined {
  try {
    const line = JSON.parse(text.toString()) as AuditLine;
    return Number.isSafeInteger(line.seq) && typeof line.prev === 'string' ? line : undefined;
  } catch {
    return undefined;
  }
}
