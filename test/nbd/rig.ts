/** A server for tests: in a folder of its own, with its events kept, and `transmit` as a foreign process. */

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import {
  type NbdServer,
  type ServerEvent,
  type ServerOptions,
  startServer,
  type Transmission,
  type TransmitArgs,
} from '#sealdisk/nbd/server.js';
import { disk, readOnlyDisk } from './wire.js';

const DEADLINE_MS = 20_000;

/** What the transmission process says at its end: how many bytes came in, and their SHA-256. */
export type Received = { bytes: number; sha256: string };

export function zeroTransmission({
  fd,
  rest,
  negotiated,
}: TransmitArgs): Transmission & { received: Promise<Received> } {
  const program = fileURLToPath(new URL('./zero-transmission.js', import.meta.url));
  // spawn returns after the child has its own copy of the descriptor.
  const { replies, contexts } = negotiated;
  const args = replies === 'simple' ? [] : ['structured', ...[...contexts.values()].map(String)];
  const child: ChildProcess = spawn(process.execPath, [program, ...args], {
    stdio: ['pipe', 'pipe', 'inherit', fd],
  });
  let said = '';
  child.stdout?.on('data', (chunk) => {
    said += chunk;
  });
  child.stdin?.end(rest);
  const ended = once(child, 'close');
  const received = ended.then(() => {
    const [bytes, sha256] = said.trim().split(' ');
    return { bytes: Number(bytes), sha256: sha256 ?? '' };
  });
  return { ended, received, close: () => void child.kill() };
}

export const tempDir = (t: Test): string => {
  const dir = mkdtempSync(join(tmpdir(), 'nbd-test-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
};

export interface Rig {
  server: NbdServer;
  path: string;
  uri: string;
  events: ServerEvent[];
  /** The n-th event of the kind, when it has come. */
  event<K extends ServerEvent['kind']>(kind: K, nth?: number): Promise<Extract<ServerEvent, { kind: K }>>;
}

export async function startRig(t: Test, options: Partial<ServerOptions> = {}): Promise<Rig> {
  const path = join(tempDir(t), 'socket');
  const events: ServerEvent[] = [];
  const waiters = new Set<() => void>();
  const server = await startServer({
    listen: { path },
    exports: () => [disk, readOnlyDisk],
    transmit: zeroTransmission,
    onEvent: (event) => {
      events.push(event);
      for (const wake of waiters) wake();
    },
    ...options,
  });
  t.teardown(() => server.close());
  const event: Rig['event'] = (kind, nth = 1) =>
    new Promise((resolve, reject) => {
      const done = (finish: () => void): void => {
        clearTimeout(timer);
        waiters.delete(look);
        finish();
      };
      const timer = setTimeout(
        () =>
          done(() =>
            reject(
              new Error(`no event ${kind} number ${nth}, but ${JSON.stringify(events.map((e) => e.kind))}`),
            ),
          ),
        DEADLINE_MS,
      );
      const look = (): void => {
        const found = events.filter((one) => one.kind === kind)[nth - 1];
        if (found) done(() => resolve(found as never));
      };
      waiters.add(look);
      look();
    });
  return { server, path, uri: `nbd+unix:///?socket=${path}`, events, event };
}

export interface Ran {
  code: number | string;
  out: string;
  err: string;
}

/** Runs a foreign program to its end; a missing one fails the test. */
export function run(program: string, ...args: string[]): Promise<Ran> {
  return new Promise((resolve, reject) => {
    // The system's programs first: python3-libnbd belongs to the python3 of the distribution.
    const env = { ...process.env, PATH: `/usr/sbin:/usr/bin:/sbin:/bin:${process.env.PATH}` };
    execFile(program, args, { timeout: DEADLINE_MS, env }, (error, out, err) => {
      if (error?.code === 'ENOENT') reject(new Error(`${program} is not installed`));
      else resolve({ code: error ? (error.code ?? error.signal ?? 'killed') : 0, out, err });
    });
  });
}

/** nbdsh with the lines as its program; `h` is the handle. */
export const nbdsh = (...lines: string[]): Promise<Ran> =>
  run('nbdsh', ...lines.flatMap((line) => ['-c', line]));

/** A raw client, with all that the server said. */
export async function rawClient(
  path: string,
): Promise<{ socket: Socket; said: () => Buffer; closed: Promise<void> }> {
  const socket = connect({ path });
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.on('error', () => {}); // a server that closes early; the test looks at `closed` and `said`
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  await once(socket, 'connect');
  return { socket, said: () => Buffer.concat(chunks), closed };
}
