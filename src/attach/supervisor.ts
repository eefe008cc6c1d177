/**
 * The supervisor of one attachment: starts the server, and has another ready for when it dies.
 *
 * It is small and does no I/O of the disk. It marks itself as an I/O flusher before it starts a server, so that every
 * thread of the server inherits the mark (PR_SET_IO_FLUSHER is per thread): writeback that waits for the server never
 * makes the server wait for memory. A server that ends with code 0 was detached; before the first `ready` a failure is
 * final and is reported; after it, the server is replaced, with growing pauses while it keeps failing.
 *
 * While a server serves, a second process stands by: started, loaded, without a key. So a takeover costs no start of a
 * process, which takes longest just when the machine is short of memory and its disk does not answer. Who would rather
 * have its memory attaches without.
 */

import { type ChildProcess, fork } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { engine } from '../engine/engine.js';
import { type Code, catalogued, SealdiskError } from '../errors.js';
import type { Log } from '../log.js';
import { findDevice } from './kernel-device.js';
import { dropUnfinished } from './snapshots.js';
import { type AttachmentState, type AttachRequest, type Lock, removeFolder, takeLock } from './state.js';

export type ServerReport =
  | { kind: 'ready'; state: AttachmentState }
  | { kind: 'failed'; error: { code: Code; facts: never } };

/** What a server that stands by is told: serve a new device, or one whose server died. */
export type ServerStart = 'first' | 'takeover';

const SERVER = fileURLToPath(new URL('../../dist/bin/server-main.cjs', import.meta.url));
/** The OOM killer takes nearly anything else first; servers begin with it, and go further when they are loaded. */
const OOM_SCORE_ADJ = -999;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;

/** Runs the attachment until it is detached. `report` hears the first outcome, once. */
export async function supervise(
  request: AttachRequest,
  log: Log,
  report: (outcome: ServerReport) => void,
): Promise<void> {
  const lock = takeLock(request.uuid);
  if (!lock) {
    const error = new SealdiskError('ATTACH_ALREADY', { path: request.path, device: 'another device' });
    return report({ kind: 'failed', error: error.toJSON() as never });
  }
  engine().setIoFlusher();
  engine().protectProcess({ lockMemory: false, oomScoreAdj: OOM_SCORE_ADJ });
  const left = findDevice(request.uuid) !== undefined;
  const newServer = () => new ServerProcess(request, lock);
  const newStandby = () => (request.standby ? newServer() : undefined);
  const first = await newServer().run(left ? 'takeover' : 'first', report, newStandby);
  if (first.ready && !first.detached) await replace(request, log, first, { newServer, newStandby });
  if (!first.ready && !left) removeRemains(request.uuid);
  lock.release();
}

/** What a server that never came to serve has left: perhaps a device, that nobody has used yet. */
function removeRemains(uuid: string): void {
  const index = findDevice(uuid);
  if (index !== undefined) engine().nbdDisconnect(index);
  dropUnfinished(uuid);
  removeFolder(uuid);
}

async function replace(
  request: AttachRequest,
  log: Log,
  first: Run,
  { newServer, newStandby }: { newServer: () => ServerProcess; newStandby: () => ServerProcess | undefined },
): Promise<void> {
  let last = first;
  for (let pauseMs = FIRST_PAUSE_MS; !last.detached; ) {
    log.error({ event: 'server_died', how: last.how, uuid: request.uuid }, `the server ended (${last.how})`);
    last = await (last.standby ?? newServer()).run('takeover', () => {}, newStandby);
    pauseMs = last.ready ? FIRST_PAUSE_MS : Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
    if (!last.ready) await delay(pauseMs);
  }
}

/** How a server ended, and who stands by in its place. */
interface Run {
  readonly ready: boolean;
  readonly detached: boolean;
  readonly how: string;
  readonly standby: ServerProcess | undefined;
}

/** A server process: it stands by from its start, and serves when `run` is called, once. */
class ServerProcess {
  readonly #child: ChildProcess;
  readonly #ended: Promise<{ how: string; code: number | null }>;

  /** The server inherits the lock, so that nobody takes its disk for free when the supervisor has died. */
  constructor(request: AttachRequest, lock: Lock) {
    this.#child = fork(SERVER, [JSON.stringify(request)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc', lock.fd],
    });
    this.#ended = new Promise((resolve) => {
      this.#child.on('error', (error) => resolve({ how: catalogued(error).message, code: null }));
      this.#child.once('exit', (code, signal) => resolve({ how: signal ?? `exit code ${code}`, code }));
    });
  }

  /** Ends a process that stands by; it holds no key. */
  dismiss(): void {
    this.#child.kill('SIGKILL');
  }

  /** Serves until the process ends; `report` hears once whether it came to serve, and then `newStandby` is called. */
  async run(
    start: ServerStart,
    report: (outcome: ServerReport) => void,
    newStandby: () => ServerProcess | undefined,
  ): Promise<Run> {
    let outcome: ServerReport | undefined;
    let standby: ServerProcess | undefined;
    this.#child.once('message', (message: ServerReport) => {
      outcome = message;
      report(outcome); // first: somebody waits for it
      if (outcome.kind === 'ready') standby = newStandby();
    });
    if (this.#child.connected) this.#child.send(start);
    const { how, code } = await this.#ended;
    if (!outcome) {
      const error = new SealdiskError('ATTACH_SERVER_DIED', { how });
      report({ kind: 'failed', error: error.toJSON() as never });
    }
    const detached = code === 0;
    if (detached) standby?.dismiss();
    return { ready: outcome?.kind === 'ready', detached, how, standby };
  }
}
