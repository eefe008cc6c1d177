/**
 * Snapshots of a disk in service, made by the process that serves it: clones, and copies that go on behind.
 *
 * Under the attachment's folder each copy has a record (`snapshots/ID.json`) and a map of what is copied (`ID.map`). Kept true:
 * the record stands before the copy begins, and says done only when all of it is on stable storage; a server that takes over
 * from a killed one goes on with what runs, before it serves; a copy that cannot go on has failed, and its file is gone.
 * A copy whose target does not answer is given up, since writes wait for it.
 */

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { EngineCopy, EngineDisk } from '../engine/engine.js';
import { catalogued, fail, SealdiskError, unreachable } from '../errors.js';
import type { Log } from '../log.js';
import { snapshotsPath, writeWhole } from './state.js';

/** A copy that makes no step for so long is given up. */
const STUCK_MS = 30_000;
const LOOK_MS = 5_000;
/** What is over is told to who asks, but not for ever. */
const OVER_KEPT = 32;
const RECORD = /^([0-9a-f]{20})\.json$/;
export const SNAPSHOT_ID = /^[0-9a-f]{20}$/;

/** What the control socket asks of snapshots. */
export type SnapshotRequest =
  | { verb: 'snapshot'; wish: SnapshotWish }
  | { verb: 'snapshot-status' | 'snapshot-cancel'; id: string };

export interface SnapshotWish {
  /** 20 hex digits, chosen by who asks, so that it can be asked for again by another server. */
  readonly id: string;
  readonly mode: 'reflink' | 'copy';
  /** Of the file that becomes the snapshot; it must be empty or not be there. */
  readonly path: string;
}

export interface SnapshotTaken {
  readonly heldMs: number;
}

/** How a copy stands; its record, but for the bytes. */
export interface SnapshotStatus {
  readonly state: 'running' | 'done' | 'failed';
  readonly path: string;
  /** null: the server that knew it was killed first. */
  readonly heldMs: number | null;
  readonly error: ReturnType<SealdiskError['toJSON']> | null;
  /** Decimal; of a copy that runs. */
  readonly copiedBytes: string;
  readonly totalBytes: string;
}

type SnapshotRecord = Omit<SnapshotStatus, 'copiedBytes' | 'totalBytes'>;

interface Running {
  readonly copy: EngineCopy;
  record(): SnapshotRecord;
  /** The instant is over and stands in the record. */
  readonly recorded: Promise<void>;
  /** It is done or has failed, and the record says so. */
  readonly over: Promise<void>;
}

export class Snapshots {
  readonly #dir: string;
  readonly #running = new Map<string, Running>();

  private constructor(
    private readonly engineDisk: EngineDisk,
    uuid: string,
    private readonly log: Log,
  ) {
    this.#dir = snapshotsPath(uuid);
  }

  /** `goesOn`: this server takes the disk over from one that was killed, and nobody wrote to it in between. */
  static async open(engineDisk: EngineDisk, uuid: string, log: Log, goesOn: boolean): Promise<Snapshots> {
    const snapshots = new Snapshots(engineDisk, uuid, log);
    mkdirSync(snapshots.#dir, { recursive: true, mode: 0o700 });
    for (const { id, record } of recordsIn(snapshots.#dir)) {
      if (record.state === 'running') await snapshots.#resume(id, record, goesOn);
    }
    return snapshots;
  }

  /** How many copies are being made. */
  get running(): number {
    return this.#running.size;
  }

  async handle(request: SnapshotRequest): Promise<unknown> {
    switch (request.verb) {
      case 'snapshot':
        return this.take(request.wish);
      case 'snapshot-status':
        return this.status(request.id);
      case 'snapshot-cancel':
        return this.cancel(request.id);
      default:
        return unreachable(request);
    }
  }

  /** Resolves when the instant is over. Fails with DISK_IO; then there is no file. */
  async take({ id, mode, path }: SnapshotWish): Promise<SnapshotTaken> {
    const heldMs = mode === 'reflink' ? await this.engineDisk.cloneTo({ path }) : await this.#copy(id, path);
    this.log.info({ event: 'snapshot_taken', id, mode, path, heldMs }, 'a snapshot was taken');
    return { heldMs };
  }

  /** How the copy stands; undefined when it is not known here. */
  status(id: string): SnapshotStatus | undefined {
    const running = this.#running.get(id);
    if (running) {
      const { copiedBytes, totalBytes } = running.copy.progress();
      return { ...running.record(), copiedBytes: `${copiedBytes}`, totalBytes: `${totalBytes}` };
    }
    const record = readRecord(this.#record(id));
    return record && { ...record, copiedBytes: '0', totalBytes: '0' };
  }

  /** Ends the copy as failed; resolves when its file is gone. What is over already stays as it is. */
  async cancel(id: string): Promise<void> {
    const running = this.#running.get(id);
    running?.copy.cancel();
    await running?.over;
  }

  /** Cancels all. */
  async close(): Promise<void> {
    await Promise.all([...this.#running.keys()].map((id) => this.cancel(id)));
  }

  async #copy(id: string, path: string): Promise<number> {
    if (this.status(id)) fail('USAGE', { what: `snapshot ${id} was begun before` });
    this.#forgetOld();
    await this.#write(id, { state: 'running', path, heldMs: null, error: null });
    const running = this.#start(id, path);
    try {
      const heldMs = await running.copy.begun;
      await running.recorded;
      return heldMs;
    } catch (error) {
      await running.over;
      throw error;
    }
  }

  async #resume(id: string, record: SnapshotRecord, goesOn: boolean): Promise<void> {
    const { path } = record;
    if (!goesOn) return this.#fail(id, record, new SealdiskError('DISK_IO', { path, errno: 'ESTALE' }));
    const running = this.#start(id, path, record);
    await running.copy.begun.catch(() => running.over);
    this.log.warn({ event: 'snapshot_resumed', id, path }, 'goes on with a snapshot of the server before');
  }

  /** `left`: the record of a copy that goes on. One record is written after the other. */
  #start(id: string, path: string, left?: SnapshotRecord): Running {
    const copy = this.engineDisk.copyTo({ path, bitmapPath: this.#map(id), resume: left !== undefined });
    let record: SnapshotRecord = left ?? { state: 'running', path, heldMs: null, error: null };
    const recorded = copy.begun
      .then((heldMs) => {
        if (!left) record = { ...record, heldMs };
        return this.#write(id, record);
      })
      .catch(() => {}); // it has failed, or the next record says all
    const stopWatching = this.#watch(copy, path);
    const over = copy.done
      .finally(() => recorded)
      .then(
        () => this.#finish(id, record),
        (error) => this.#fail(id, record, catalogued(error)),
      )
      .catch((error) => this.log.error({ event: 'snapshot_record', id, err: error }, 'record of a snapshot'))
      .finally(() => {
        stopWatching();
        this.#running.delete(id);
      });
    const running: Running = { copy, record: () => record, recorded, over };
    this.#running.set(id, running);
    return running;
  }

  /** Gives up what is stuck. At its end a copy is synced, and nobody waits for that. */
  #watch(copy: EngineCopy, path: string): () => void {
    let seenBytes = -1n;
    let sinceMs = performance.now();
    const timer = setInterval(() => {
      const { copiedBytes, totalBytes } = copy.progress();
      if (copiedBytes !== seenBytes || copiedBytes === totalBytes) sinceMs = performance.now();
      seenBytes = copiedBytes;
      if (performance.now() - sinceMs < STUCK_MS) return;
      this.log.error({ event: 'snapshot_stuck', path }, `${path} takes nothing: the snapshot is given up`);
      copy.cancel();
    }, LOOK_MS);
    timer.unref();
    return () => clearInterval(timer);
  }

  async #finish(id: string, record: SnapshotRecord): Promise<void> {
    await this.#write(id, { ...record, state: 'done' });
    rmSync(this.#map(id), { force: true });
    this.log.info({ event: 'snapshot_done', id, path: record.path }, 'a snapshot is complete');
  }

  /** A file that was there before is somebody else's. */
  async #fail(id: string, record: SnapshotRecord, error: SealdiskError): Promise<void> {
    const others = (error.facts as { errno?: string }).errno === 'EEXIST';
    if (!others) rmSync(record.path, { force: true });
    rmSync(this.#map(id), { force: true });
    await this.#write(id, { ...record, state: 'failed', error: error.toJSON() });
    this.log.error({ event: 'snapshot_failed', id, code: error.code }, `no snapshot: ${error.message}`);
  }

  #forgetOld(): void {
    const over = recordsIn(this.#dir).filter(({ record }) => record.state !== 'running');
    const since = ({ id }: { id: string }) => statSync(this.#record(id)).mtimeMs;
    const old = over.sort((a, b) => since(b) - since(a)).slice(OVER_KEPT);
    for (const { id } of old) rmSync(this.#record(id), { force: true });
  }

  #record(id: string): string {
    return join(this.#dir, `${id}.json`);
  }

  #map(id: string): string {
    return join(this.#dir, `${id}.map`);
  }

  #write(id: string, record: SnapshotRecord): Promise<void> {
    return writeWhole(this.#record(id), record);
  }
}

function readRecord(path: string): SnapshotRecord | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as SnapshotRecord;
  } catch {
    return undefined;
  }
}

function recordsIn(dir: string): { id: string; record: SnapshotRecord }[] {
  if (!existsSync(dir)) return [];
  return readdirSync(dir).flatMap((name) => {
    const id = RECORD.exec(name)?.[1];
    const record = id === undefined ? undefined : readRecord(join(dir, name));
    return id === undefined || record === undefined ? [] : [{ id, record }];
  });
}

/** Takes away the files of copies that nobody goes on with: the disk's processes have ended, and its folder is to go. */
export function dropUnfinished(uuid: string): void {
  for (const { record } of recordsIn(snapshotsPath(uuid))) {
    if (record.state === 'running') rmSync(record.path, { force: true });
  }
}
