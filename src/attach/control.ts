/**
 * The control socket of an attachment: one JSON object in a line asks, one answers.
 *
 * Kept true: only root can connect (the folder has mode 0700); a peer that talks nonsense gets an error line and is
 * dropped; a request is at most REQUEST_MAX_BYTES long.
 */

import { rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { isAbsolute } from 'node:path';
import type { InService } from '../disk/in-service.js';
import type { LabelChange } from '../disk/relabel.js';
import type { SizeChange } from '../disk/resize.js';
import type { RewrapWish } from '../disk/rewrap.js';
import type { ServedDiskStatus } from '../disk/served-disk.js';
import { type Code, catalogued, fail, SealdiskError } from '../errors.js';
import { SNAPSHOT_ID, type SnapshotRequest, type SnapshotWish } from './snapshots.js';
import { controlPath } from './state.js';

/** Fifty tags of the longest make some 20 KiB. */
const REQUEST_MAX_BYTES = 65_536;

export type ControlRequest =
  | { verb: 'status' }
  | { verb: 'detach'; force: boolean }
  | { verb: 'resize'; change: SizeChange; force: boolean }
  | { verb: 'rewrap'; wish: RewrapWish }
  | { verb: 'relabel'; change: LabelChange }
  | SnapshotRequest;

export interface ControlStatus extends ServedDiskStatus {
  readonly serverPid: number;
  readonly reads: string;
  readonly readBytes: string;
  readonly writes: string;
  readonly writtenBytes: string;
  readonly flushes: string;
  readonly parked: number;
  readonly inFlight: number;
}

/** What a serving process says of its disk. */
export function statusOf(served: InService): ControlStatus {
  const stats = served.engineDisk.stats();
  return {
    ...served.status,
    serverPid: process.pid,
    reads: `${stats.reads}`,
    readBytes: `${stats.readBytes}`,
    writes: `${stats.writes}`,
    writtenBytes: `${stats.writtenBytes}`,
    flushes: `${stats.flushes}`,
    parked: stats.parked,
    inFlight: stats.inFlight,
  };
}

type Reply = { ok: unknown } | { error: { code: Code; facts: never } };

/** Serves the attachment's socket; `handle` does what a request asks and its result is the answer. */
export function serveControl(
  uuid: string,
  handle: (request: ControlRequest) => Promise<unknown>,
): Promise<Server> {
  const path = controlPath(uuid);
  rmSync(path, { force: true });
  const server = createServer((socket) => answer(socket, handle));
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => resolve(server));
  });
}

function answer(socket: Socket, handle: (request: ControlRequest) => Promise<unknown>): void {
  let text = '';
  const reply = (value: Reply) => socket.end(`${JSON.stringify(value)}\n`);
  socket.setEncoding('utf8');
  socket.on('error', () => socket.destroy());
  socket.on('data', async (chunk: string) => {
    text += chunk;
    if (text.length > REQUEST_MAX_BYTES) return socket.destroy();
    if (!text.endsWith('\n')) return;
    try {
      reply({ ok: (await handle(parse(text))) ?? null });
    } catch (error) {
      reply({ error: catalogued(error).toJSON() as never });
    }
  });
}

function parse(text: string): ControlRequest {
  const request = JSON.parse(text) as Partial<Record<'verb' | 'force' | 'change' | 'wish' | 'id', unknown>>;
  if (request.verb === 'status') return { verb: 'status' };
  if (request.verb === 'detach') return { verb: 'detach', force: request.force === true };
  if (request.verb === 'resize') {
    return { verb: 'resize', change: parseChange(request.change), force: request.force === true };
  }
  if (request.verb === 'rewrap') return { verb: 'rewrap', wish: parseWish(request.wish) };
  if (request.verb === 'relabel') return { verb: 'relabel', change: parseLabels(request.change) };
  if (request.verb === 'snapshot') return { verb: 'snapshot', wish: parseSnapshot(request.wish) };
  if (request.verb === 'snapshot-status' || request.verb === 'snapshot-cancel') {
    return { verb: request.verb, id: parseId(request.id) };
  }
  return fail('USAGE', { what: 'unknown control request' });
}

function parseWish(found: unknown): RewrapWish {
  const { keyUri, force } = (found ?? {}) as { keyUri?: unknown; force?: unknown };
  if (keyUri !== null && typeof keyUri !== 'string') return fail('USAGE', { what: 'unknown key' });
  return { keyUri, force: force === true };
}

function parseLabels(found: unknown): LabelChange {
  const { name, tags } = (found ?? {}) as { name?: unknown; tags?: unknown };
  const known = typeof tags === 'object' && tags !== null ? Object.entries(tags) : [];
  if (known.some(([, value]) => typeof value !== 'string' && value !== null)) {
    return fail('USAGE', { what: 'unknown tags' });
  }
  return { ...(typeof name === 'string' ? { name } : {}), tags: Object.fromEntries(known) };
}

function parseSnapshot(found: unknown): SnapshotWish {
  const { id, mode, path } = (found ?? {}) as { id?: unknown; mode?: unknown; path?: unknown };
  const known = mode === 'reflink' || mode === 'copy';
  if (known && typeof path === 'string' && isAbsolute(path)) return { id: parseId(id), mode, path };
  return fail('USAGE', { what: 'unknown snapshot' });
}

function parseId(found: unknown): string {
  if (typeof found === 'string' && SNAPSHOT_ID.test(found)) return found;
  return fail('USAGE', { what: 'unknown snapshot id' });
}

function parseChange(found: unknown): SizeChange {
  const { kind, bytes } = (found ?? {}) as { kind?: unknown; bytes?: unknown };
  if (kind === 'fit') return { kind };
  const whole = typeof bytes === 'string' && /^-?\d{1,19}$/.test(bytes);
  if (whole && (kind === 'to' || kind === 'by')) return { kind, bytes };
  return fail('USAGE', { what: 'unknown change of size' });
}

/** Asks the attachment's server. Undefined when no server answers there within `timeoutMs`. */
export function askControl<T>(
  uuid: string,
  request: ControlRequest,
  timeoutMs: number,
): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const socket = connect(controlPath(uuid));
    const timer = setTimeout(() => socket.destroy(), timeoutMs);
    let text = '';
    socket.setEncoding('utf8');
    socket.on('connect', () => socket.write(`${JSON.stringify(request)}\n`));
    socket.on('data', (chunk: string) => {
      text += chunk;
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      clearTimeout(timer);
      if (!text.endsWith('\n')) return resolve(undefined);
      const reply = JSON.parse(text) as Reply;
      if ('error' in reply) reject(SealdiskError.fromJSON(reply.error));
      else resolve(reply.ok as T);
    });
  });
}
