/**
 * One caller: who it is, what it asks, its turn, its command, the output on its way back.
 *
 * The caller is whoever connected the socket, as the kernel saw it; nothing that it sends says so. It is answered as its
 * command goes on. One that goes away takes its command with it (SIGTERM; what a command has made durable by then stays,
 * and a server that attach has started lives on).
 */

import type { ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';
import type { PeerCredentials } from '../engine/engine.js';
import { catalogued, fail, SealdiskError } from '../errors.js';
import type { Log } from '../log.js';
import { type Plan, planOf } from './commands.js';
import type { House } from './guest.js';
import { REQUEST_MAX_BYTES, REQUEST_TIMEOUT_MS, STALL_TIMEOUT_MS } from './limits.js';
import { decodeRequest, encodeFrame, type Frame, failureFrame } from './protocol.js';
import { startCommand } from './run.js';
import type { Turns } from './turns.js';

export interface Surroundings {
  readonly house: House;
  /** How callers may call the pool. */
  readonly poolNames: readonly string[];
  readonly turns: Turns;
  readonly log: Log;
}

export class Session {
  /** Resolves when the caller is gone and its command has ended. */
  readonly ended: Promise<void>;
  readonly #startMs = performance.now();
  readonly #closed: Promise<void>;
  #child: ChildProcess | undefined;
  /** Runs while the caller does not read. */
  #stalled: NodeJS.Timeout | undefined;

  constructor(
    private readonly socket: Socket,
    readonly peer: PeerCredentials,
    private readonly around: Surroundings,
  ) {
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    this.#closed = closed.then(() => this.#leave());
    socket.on('error', () => socket.destroy());
    this.ended = Promise.all([closed, this.#serve().catch((error) => this.#failed(error))]).then(
      () => undefined,
    );
  }

  /** Ends it at once. */
  end(): void {
    this.socket.destroy();
  }

  async #serve(): Promise<void> {
    const { words, pool } = decodeRequest(await readLine(this.socket));
    const plan = planOf(words);
    for (const each of [pool, plan.pool ?? pool]) this.#checkPool(each);
    const turn = this.around.turns.take(this.peer.uid);
    try {
      await Promise.race([turn.mine, this.#closed]);
      if (!this.socket.destroyed) await this.#run(plan);
    } finally {
      turn.leave();
    }
  }

  #checkPool(pool: string): void {
    const { poolNames } = this.around;
    if (!poolNames.includes(pool))
      fail('DAEMON_REFUSED', { what: `the pool ${pool}: its own is ${poolNames[0]}` });
  }

  async #run(plan: Plan): Promise<void> {
    const command = startCommand({ uid: this.peer.uid, plan, house: this.around.house });
    this.#child = command.child;
    command.onText((frame) => this.#send(frame));
    const how = await command.ended;
    this.#child = undefined;
    const { uid, pid } = this.peer;
    const ms = Math.round(performance.now() - this.#startMs);
    const facts = { event: 'command', uid, pid, command: plan.command.join(' '), exit: how.code, ms };
    this.around.log.info(facts, `${facts.command} for user ${uid}: ${how.says}`);
    if (how.failure) this.#send(failureFrame(how.failure));
    this.#finish(how.code);
  }

  #failed(error: unknown): void {
    const failure = catalogued(error);
    const { uid, pid } = this.peer;
    this.around.log.warn({ event: 'refused', uid, pid, code: failure.code }, failure.message);
    this.#send(failureFrame(failure));
    this.#finish(failure.exitCode);
  }

  #finish(code: number): void {
    if (!this.socket.destroyed) this.socket.end(encodeFrame({ exit: code }));
    // It has what it asked for; one that does not hang up is hung up on.
    setTimeout(() => this.socket.destroy(), STALL_TIMEOUT_MS).unref();
  }

  /** A caller that does not read lets its command wait, for so long. */
  #send(frame: Frame): void {
    if (this.socket.destroyed || this.socket.write(encodeFrame(frame)) || this.#stalled) return;
    for (const stream of this.#streams()) stream?.pause();
    this.#stalled = setTimeout(() => this.socket.destroy(), STALL_TIMEOUT_MS);
    this.socket.once('drain', () => {
      clearTimeout(this.#stalled);
      this.#stalled = undefined;
      for (const stream of this.#streams()) stream?.resume();
    });
  }

  #streams() {
    return [this.#child?.stdout, this.#child?.stderr];
  }

  #leave(): void {
    this.#child?.kill('SIGTERM');
    clearTimeout(this.#stalled);
    for (const stream of this.#streams()) stream?.resume();
  }
}

/** The caller's one line. Fails with DAEMON_REFUSED when it is too long, too slow, or followed by more. */
function readLine(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const settle = (act: () => void): void => {
      clearTimeout(timer);
      socket.off('data', take);
      // It says no more; what it sends is let go, and its end is the end.
      socket.on('data', () => undefined);
      act();
    };
    const refuse = (what: string) => settle(() => reject(new SealdiskError('DAEMON_REFUSED', { what })));
    const timer = setTimeout(() => refuse(`${REQUEST_TIMEOUT_MS} ms for a request`), REQUEST_TIMEOUT_MS);
    const take = (chunk: Buffer): void => {
      chunks.push(chunk);
      bytes += chunk.length;
      const end = chunk.indexOf(0x0a);
      if (bytes > REQUEST_MAX_BYTES) refuse(`a request of more than ${REQUEST_MAX_BYTES} bytes`);
      else if (end >= 0 && end < chunk.length - 1) refuse('more than one line');
      else if (end >= 0) settle(() => resolve(Buffer.concat(chunks).toString('utf8')));
    };
    socket.on('data', take);
    socket.once('end', () => socket.destroy());
    socket.once('close', () =>
      settle(() => reject(new SealdiskError('DAEMON_REFUSED', { what: 'half a line' }))),
    );
  });
}
