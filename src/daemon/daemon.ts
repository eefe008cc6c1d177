/**
 * The daemon: it owns the pool, and does for the users of the machine what the closed list (commands.ts) has.
 *
 * Anybody may connect; who it is the kernel says, what it may do the policies say where the work is done. This process
 * parses a line and starts a process, no more: what a command needs to know and to hold, it does not. When it is killed,
 * what it has started goes on to its end.
 */

import { chmodSync, mkdirSync, realpathSync, statSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname, resolve } from 'node:path';
import { engine } from '../engine/engine.js';
import { catalogued, errnoOf, fail, SealdiskError } from '../errors.js';
import type { Log } from '../log.js';
import { addressOf, type ListenAddress, listen } from '../nbd/server/address.js';
import {
  CALLERS_MAX,
  CALLERS_PER_USER_MAX,
  COMMANDS_MAX,
  COMMANDS_PER_USER_MAX,
  DRAIN_TIMEOUT_MS,
  TURN_AWAY_MS,
} from './limits.js';
import { encodeFrame, failureFrame } from './protocol.js';
import { Session, type Surroundings } from './session.js';
import { Turns } from './turns.js';

export interface DaemonOptions {
  readonly poolDir: string;
  readonly listen: ListenAddress;
  readonly allowedKeys: readonly string[];
}

export interface Daemon {
  /** Where it listens. */
  readonly address: string;
  status(): string;
  /** There is nothing that it reads only once. */
  reload(): Promise<void>;
  /** Takes no more callers, lets commands end, for so long, and then ends them. */
  close(): Promise<void>;
}

/** Resolves when callers may come. Fails with DAEMON_POOL, DISK_IO or NBD_ADDRESS. */
export async function startDaemon(options: DaemonOptions, log: Log): Promise<Daemon> {
  const poolDir = ownPool(options.poolDir);
  const turns = new Turns(COMMANDS_MAX, COMMANDS_PER_USER_MAX);
  const callers = new Callers({
    house: { poolDir, allowedKeys: options.allowedKeys },
    poolNames: [poolDir, resolve(options.poolDir)],
    turns,
    log,
  });
  const server = createServer({ allowHalfOpen: true }, (socket) => callers.welcome(socket));
  server.on('error', (error) =>
    log.error({ event: 'accept_failed', errno: errnoOf(error) }, 'no new caller'),
  );
  const { listen: address } = options;
  if ('path' in address) openWay(address.path);
  await listen(server, address);
  if ('path' in address) chmodSync(address.path, 0o666);
  return {
    address: addressOf(server, address),
    status: () => `${callers.count} callers, pool ${poolDir}`,
    reload: async () => undefined,
    close: () => close(server, callers),
  };
}

/** The pool, which nobody else can write or look into; made where there is none. */
function ownPool(asked: string): string {
  try {
    mkdirSync(asked, { recursive: true, mode: 0o700 });
    const path = realpathSync(resolve(asked));
    const { uid, mode } = statSync(path);
    if (uid !== process.getuid?.())
      fail('DAEMON_POOL', { path, found: `owned by user ${uid}`, expected: `user ${process.getuid?.()}` });
    if ((mode & 0o077) !== 0)
      fail('DAEMON_POOL', { path, found: `of mode ${(mode & 0o777).toString(8)}`, expected: 'mode 700' });
    return path;
  } catch (error) {
    if (error instanceof SealdiskError) throw error;
    return fail('DISK_IO', { path: asked, errno: errnoOf(error) }, error);
  }
}

/** The folder of the socket, through which everybody may go; what lies beside it there is not for them. */
function openWay(path: string): void {
  const folder = dirname(path);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o711 });
    const { uid, mode } = statSync(folder);
    if (uid === process.getuid?.() && (mode & 0o011) !== 0o011) chmodSync(folder, (mode & 0o7777) | 0o011);
  } catch (error) {
    fail('NBD_ADDRESS', { address: path, errno: errnoOf(error) }, error);
  }
}

/** Those that are connected. */
class Callers {
  readonly #sessions = new Set<Session>();

  constructor(private readonly around: Surroundings) {}

  get count(): number {
    return this.#sessions.size;
  }

  welcome(socket: Socket): void {
    try {
      const peer = engine().peerCredentials(descriptorOf(socket));
      const same = [...this.#sessions].filter((session) => session.peer.uid === peer.uid).length;
      if (same >= CALLERS_PER_USER_MAX || this.#sessions.size >= CALLERS_MAX)
        return void turnAway(socket, this.#sessions.size);
      const session = new Session(socket, peer, this.around);
      this.#sessions.add(session);
      session.ended.finally(() => this.#sessions.delete(session));
    } catch (error) {
      // It was gone before the kernel could be asked who it is.
      socket.destroy();
      this.around.log.warn({ event: 'caller_lost' }, catalogued(error).message);
    }
  }

  async drained(): Promise<void> {
    await Promise.all([...this.#sessions].map(({ ended }) => ended));
  }

  endAll(): void {
    for (const session of this.#sessions) session.end();
  }
}

function turnAway(socket: Socket, callers: number): void {
  const busy = new SealdiskError('DAEMON_BUSY', { callers });
  socket.on('error', () => undefined);
  socket.end(encodeFrame(failureFrame(busy)) + encodeFrame({ exit: busy.exitCode }));
  setTimeout(() => socket.destroy(), TURN_AWAY_MS).unref();
}

function descriptorOf(socket: Socket): number {
  const handle = (socket as unknown as { _handle: { readonly fd: number } | null })._handle;
  return handle?.fd ?? -1;
}

async function close(server: Server, callers: Callers): Promise<void> {
  server.close();
  const timer = setTimeout(() => callers.endAll(), DRAIN_TIMEOUT_MS);
  await callers.drained();
  clearTimeout(timer);
}
