/**
 * The writing end of an audit log in this process. Lines that come while others are written wait and go together: one
 * lock, one write, one head for all of them.
 *
 * Lock: flock, exclusive, on audit.log; whoever holds the store's lock may take it, never the other way round. Kept true
 * under it: the log ends where the head says, or a line of ours says what was found instead (`Repair`) before the next
 * line stands; lines are written before their head. What another process wrote since is known by the log's length.
 */

import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { flockSync } from 'fs-ext';
import {
  type AuditHead,
  bootId,
  headPath,
  lostToPower,
  NOTHING,
  readHeads,
  writeHead,
} from './audit-head.js';
import { type AuditEntry, hashOf, lineOf, REPAIR_OPERATION, type Repair } from './audit-line.js';
import { statOf } from './files.js';
import { tryFlock } from './lock.js';
import { acquireRoot, type OpenRoot, rootMarks } from './root/held.js';

/** A file of lines that nobody wrote to for so long is closed. */
const IDLE_MS = 1000;
const RETRY_MAX_MS = 10;
const NEWLINE = 0x0a;

interface Waiting {
  readonly entry: AuditEntry;
  readonly time: string;
  readonly durable: boolean;
  readonly done: () => void;
  readonly failed: (error: unknown) => void;
}

/** The log as we left it. */
interface Tail {
  readonly head: AuditHead;
  /** The slot that holds it. */
  readonly slot: number;
}

interface Files {
  readonly log: FileHandle;
  readonly heads: FileHandle;
  readonly ino: number;
  tail: Tail | undefined;
}

export const logPath = (dir: string): string => join(dir, 'audit.log');

class AuditLog {
  #waiting: Waiting[] = [];
  #writing = false;
  #files: Files | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(private readonly dir: string) {}

  append(entry: AuditEntry, durable: boolean): Promise<void> {
    return new Promise((done, failed) => {
      this.#waiting.push({ entry, time: new Date().toISOString(), durable, done, failed });
      if (!this.#writing) void this.#writeAll();
    });
  }

  async #writeAll(): Promise<void> {
    this.#writing = true;
    clearTimeout(this.#timer);
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        await this.#write(batch);
        for (const { done } of batch) done();
      } catch (error) {
        await this.#close().catch(() => undefined);
        for (const { failed } of batch) failed(error);
      }
    }
    this.#writing = false;
    this.#timer = setTimeout(() => void this.#retire(), IDLE_MS);
    this.#timer.unref();
  }

  async #retire(): Promise<void> {
    if (this.#writing) return;
    logs.delete(this.dir);
    await this.#close().catch(() => undefined);
  }

  async #write(batch: readonly Waiting[]): Promise<void> {
    for (;;) {
      const root = await acquireRoot(this.dir);
      try {
        const { files, size, marks } = await this.#locked();
        try {
          // A rotation of the root takes this lock after it has changed root.json: a head under an old root is never last.
          if (marks !== root.marks) continue;
          return await this.#writeLocked(files, size, root, batch);
        } finally {
          flockSync(files.log.fd, 'un');
        }
      } finally {
        root.release();
      }
    }
  }

  async #writeLocked(files: Files, size: number, root: OpenRoot, batch: readonly Waiting[]): Promise<void> {
    const known = files.tail !== undefined && files.tail.head.sizeBytes === size;
    const { tail, lines, begin } = known
      ? { tail: files.tail as Tail, lines: [] as string[], begin: '' }
      : await this.#takeUp(files, root, size);
    files.tail = undefined; // until all is written
    let { seq, hash } = lines.length > 0 ? lastOf(tail, lines) : tail.head;
    for (const { entry, time } of batch) {
      const line = lineOf(entry, time, ++seq, hash);
      hash = hashOf(line);
      lines.push(line);
    }
    const text = Buffer.from(`${begin}${lines.join('\n')}\n`);
    await writeFully(files.log, text);
    const durable = batch.some((waiting) => waiting.durable);
    if (durable) await files.log.sync();
    const syncedSeq = durable ? seq : Math.min(tail.head.syncedSeq, seq);
    const head = { seq, hash, sizeBytes: size + text.length, syncedSeq, boot: bootId() };
    const slot = 1 - tail.slot;
    await writeHead(files.heads, slot, head, root.keys.current);
    files.tail = { head, slot };
  }

  /** Where the log that others wrote ends, and the line that says what was wrong with it, if something was. */
  async #takeUp(
    files: Files,
    { keys }: OpenRoot,
    size: number,
  ): Promise<{ tail: Tail; lines: string[]; begin: string }> {
    const [newest] = await readHeads(this.dir, keys.old ? [keys.current, keys.old] : [keys.current]);
    const tail = newest ?? { head: NOTHING, slot: 1 };
    if (newest !== undefined && newest.head.sizeBytes === size) return { tail, lines: [], begin: '' };
    const found = await findEnd(files.log, size, newest?.head);
    const repair = { ...found.repair, headless: newest === undefined };
    const lastSeq = Math.max(tail.head.seq, found.seq);
    const entry = { operation: REPAIR_OPERATION, key: '', outcome: 'ok', who: 'sealdisk', repair };
    const line = lineOf(entry, new Date().toISOString(), lastSeq + 1, found.hash);
    return { tail, lines: [line], begin: found.repair.torn ? '\n' : '' };
  }

  /** The open files, the log locked and still the one of that name. */
  async #locked(): Promise<{ files: Files; size: number; marks: string }> {
    for (let waitMs = 0; ; waitMs = Math.min(waitMs * 2 + 0.5, RETRY_MAX_MS)) {
      this.#files ??= await openFiles(this.dir);
      const files = this.#files;
      if (!tryFlock(files.log.fd)) {
        await (waitMs === 0 ? new Promise(setImmediate) : pause(waitMs * (0.5 + Math.random())));
        continue;
      }
      const [found, marks] = await Promise.all([
        statOf(logPath(this.dir)).catch(() => undefined),
        rootMarks(this.dir),
      ]);
      if (found?.ino === files.ino) return { files, size: found.size, marks };
      await this.#close(); // put away under our hands: its lock is no one's
    }
  }

  async #close(): Promise<void> {
    const files = this.#files;
    this.#files = undefined;
    await files?.log.close();
    await files?.heads.close();
  }
}

function lastOf(tail: Tail, lines: readonly string[]): { seq: number; hash: string } {
  const line = lines.at(-1);
  if (line === undefined) return tail.head;
  return { seq: (JSON.parse(line) as { seq: number }).seq, hash: hashOf(line) };
}

async function openFiles(dir: string): Promise<Files> {
  const common = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
  const log = await open(logPath(dir), common | constants.O_APPEND, 0o600);
  try {
    const heads = await open(headPath(dir), common, 0o600);
    const { ino } = await log.stat();
    return { log, heads, ino, tail: undefined };
  } catch (error) {
    await log.close();
    throw error;
  }
}

async function writeFully(log: FileHandle, text: Buffer): Promise<void> {
  for (let done = 0; done < text.length; ) done += (await log.write(text, done)).bytesWritten;
}

/** The end of a log that is not where its head says: its last line, and what is to be said of it. */
async function findEnd(
  log: FileHandle,
  size: number,
  head: AuditHead | undefined,
): Promise<{ seq: number; hash: string; repair: Omit<Repair, 'headless'> }> {
  const from = head !== undefined && head.sizeBytes < size ? head.sizeBytes : 0;
  const bytes = Buffer.alloc(size - from);
  for (let done = 0; done < bytes.length; ) {
    const { bytesRead } = await log.read(bytes, done, bytes.length - done, from + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  const torn = bytes.length > 0 && bytes.at(-1) !== NEWLINE;
  const lines = bytes.toString('latin1').split('\n');
  if (!torn) lines.pop();
  const last = lines.at(-1);
  const seqs = lines.map(seqOf).filter((seq) => seq !== undefined);
  const seq = seqs.at(-1) ?? (from > 0 ? (head?.seq ?? 0) : 0);
  const lost = Math.max(0, (head?.seq ?? 0) - seq);
  return {
    seq,
    hash:
      last === undefined
        ? from > 0
          ? (head as AuditHead).hash
          : NOTHING.hash
        : hashOf(Buffer.from(last, 'latin1')),
    repair: {
      unsealed: from > 0 || head?.seq === 0 ? seqs.length : 0,
      torn,
      lost,
      powerFailure: lost > 0 && head !== undefined && lostToPower(head, seq),
    },
  };
}

function seqOf(line: string): number | undefined {
  try {
    const { seq } = JSON.parse(line) as { seq?: number };
    return Number.isSafeInteger(seq) ? seq : undefined;
  } catch {
    return undefined;
  }
}

const logs = new Map<string, AuditLog>();

/** The log of the store in `dir`. */
export function logOf(dir: string): AuditLog {
  const log = logs.get(dir) ?? new AuditLog(dir);
  logs.set(dir, log);
  return log;
}
