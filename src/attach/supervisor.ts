/**
 * The supervisor of one attachment: starts the server, and starts another when it dies.
 *
 * It is small and does no I/O of the disk. It marks itself as an I/O flusher before it starts a server, so that every
 * thread of the server inherits the mark (PR_SET_IO_FLUSHER is per thread): writeback that waits for the server never
 * makes the server wait for memory. A server that ends with code 0 was detached; before the first `ready` a failure is
 * final and is reported; after it, the server is replaced, with growing pauses while it keeps failing.
 */

import { type ChildProcess, fork } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { engine } from '../engine/engine.js';
import { type Code, catalogued, SealdiskError } from '../errors.js';
import type { Log } from '../log.js';
import { findDevice } from './kernel-device.js';
import {
  type AttachmentState,
  type AttachRequest,
  logPath,
  prepareFolder,
  removeFolder,
  takeLock,
} from './state.js';

export type ServerReport =
  | { kind: 'ready'; state: AttachmentState }
  | { kind: 'failed'; error: { code: Code; facts: never } };

const SERVER = fileURLToPath(new URL('./server-main.js', import.meta.url));
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;

/** Runs the attachment until it is detached. `report` hears the first outcome, once. */
export async function supervise(
  request: AttachRequest,
  log: Log,
  report: (outcome: ServerReport) => void,
): Promise<void> {
  prepareFolder(request.uuid);
  const unlock = takeLock(request.uuid);
  if (!unlock) {
    const error = new SealdiskError('ATTACH_ALREADY', { path: request.path, device: 'another device' });
    return report({ kind: 'failed', error: error.toJSON() as never });
  }
  engine().setIoFlusher();
  const left = findDevice(request.uuid) !== undefined;
  const first = await runServer(request, left, report);
  if (first.ready && !first.detached) await replace(request, log, first.how);
  if (!first.ready && !left) removeFolder(request.uuid);
  unlock();
}

async function replace(request: AttachRequest, log: Log, how: string): Promise<void> {
  let pauseMs = FIRST_PAUSE_MS;
  let ending = how;
  for (;;) {
    log.error(
      { event: 'server_died', how: ending, uuid: request.uuid },
      `the server ended (${ending}); starting another`,
    );
    const run = await runServer(request, true, () => {});
    if (run.detached) return;
    ending = run.how;
    pauseMs = run.ready ? FIRST_PAUSE_MS : Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
    if (!run.ready) await delay(pauseMs);
  }
}

interface Run {
  readonly ready: boolean;
  readonly detached: boolean;
  readonly how: string;
}

function runServer(
  request: AttachRequest,
  takeover: boolean,
  report: (outcome: ServerReport) => void,
): Promise<Run> {
  const child: ChildProcess = fork(SERVER, [JSON.stringify(request), takeover ? 'takeover' : 'first'], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  let ready = false;
  let reported = false;
  child.on('message', (message: ServerReport) => {
    ready = message.kind === 'ready';
    reported = true;
    report(message);
  });
  return new Promise((resolve) => {
    const ended = (how: string, code: number | null) => {
      if (!reported) {
        const error = new SealdiskError('ATTACH_SERVER_DIED', { how, log: logPath(request.uuid) });
        report({ kind: 'failed', error: error.toJSON() as never });
      }
      resolve({ ready, detached: code === 0, how });
    };
    child.once('error', (error) => ended(catalogued(error).message, null));
    child.once('exit', (code, signal) => ended(signal ?? `exit code ${code}`, code));
  });
}
