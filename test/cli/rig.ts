/**
 * The command line as a child process, with a pool and a run folder of its own; and `sealdisk serve` beside the test.
 *
 * Kept true: whatever a test starts has ended when the test has, and its folder is gone.
 */

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { LocalKms } from '#sealdisk/kms/local/local-kms.js';

export const MAIN = fileURLToPath(new URL('../../dist/bin/sealdisk.cjs', import.meta.url));
export const DEADLINE_MS = 60_000;

export interface Ran {
  readonly code: number | string;
  readonly out: string;
  readonly err: string;
}

export interface Serving {
  readonly uri: string;
  readonly pid: number;
  /** The log record of the event, when it has come; `nth` of several. */
  event(name: string, nth?: number): Promise<Record<string, unknown>>;
  /** Sends the signal; exit code and what was logged. */
  stop(signal?: NodeJS.Signals): Promise<{ code: number | null; log: string }>;
}

export interface Rig {
  readonly dir: string;
  readonly env: NodeJS.ProcessEnv;
  at(name: string): string;
  sealdisk(...args: string[]): Promise<Ran>;
  /** As `sealdisk`, and must succeed: its output parsed. */
  // biome-ignore lint/suspicious/noExplicitAny: what a command prints is what the test is about.
  json(...args: string[]): Promise<any>;
  /** What the only server of this rig says of itself on its control socket; as `list` asks, without a process. */
  // biome-ignore lint/suspicious/noExplicitAny: what a server says is what the test is about.
  status(): Promise<any>;
  readonly kms: LocalKms;
  /** A disk under a key of its own; returns its path. */
  disk(name: string, ...options: string[]): Promise<string>;
  serve(disk: string, ...options: string[]): Promise<Serving>;
  /** As `serve`, by another program that ends in executing it, with `over` in its environment. */
  serveBy(program: string[], over: NodeJS.ProcessEnv, ...words: string[]): Promise<Serving>;
}

/** Runs a program to its end. The system's programs come first: python3-libnbd belongs to the system's python3. */
export function run(program: string, args: string[], env: NodeJS.ProcessEnv = process.env): Promise<Ran> {
  const path = `/usr/sbin:/usr/bin:/sbin:/bin:${env.PATH}`;
  return new Promise((resolve, reject) => {
    const options = { timeout: DEADLINE_MS, env: { ...env, LC_ALL: 'C', PATH: path }, maxBuffer: 1 << 26 };
    const child = execFile(program, args, options, (error, out, err) => {
      if (error?.code === 'ENOENT') reject(new Error(`${program} is not installed`));
      else resolve({ code: error ? (error.code ?? error.signal ?? 'killed') : 0, out, err });
    });
    child.stdin?.end();
  });
}

export function rig(t: Pick<Test, 'teardown'>, over: NodeJS.ProcessEnv = {}): Rig {
  const dir = mkdtempSync(join(tmpdir(), 'sealdisk-'));
  const children: ChildProcess[] = [];
  t.teardown(async () => {
    for (const child of children) await killed(child);
    rmSync(dir, { recursive: true, force: true });
  });
  const at = (name: string) => join(dir, name);
  const env = { ...process.env, SEALDISK_POOL: at('pool'), SEALDISK_RUN: at('run'), ...over };
  const sealdisk = (...args: string[]) => run(process.execPath, [MAIN, ...args], env);
  const json = async (...args: string[]) => {
    const { code, out, err } = await sealdisk(...args, '--json');
    if (code !== 0) throw new Error(`sealdisk ${args.join(' ')}: ${code}, ${err}`);
    return JSON.parse(out);
  };
  const serveBy: Rig['serveBy'] = (program, over, ...words) => {
    const [file, ...rest] = [...program, process.execPath, MAIN, 'serve', ...words];
    const child = spawn(file as string, rest, {
      env: { ...env, ...over },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    children.push(child);
    return servingOf(child);
  };
  return {
    dir,
    env,
    at,
    sealdisk,
    json,
    status: () => statusOf(at('run')),
    kms: LocalKms.open(at('pool/kms')),
    disk: async (name, ...options) => {
      await json('key', 'create', '--alias', name);
      await json('create', at(name), '--size', '16M', '--key', `alias/${name}`, ...options);
      return at(name);
    },
    serve: (disk, ...options) => serveBy([], {}, disk, ...options),
    serveBy,
  };
}

async function statusOf(runDir: string): Promise<unknown> {
  const [uuid] = readdirSync(runDir);
  const socket = connect(join(runDir, uuid ?? '', 'control.sock'));
  socket.write('{"verb":"status"}\n');
  return JSON.parse(await text(socket)).ok;
}

async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

/** The server, when it has printed its URI; fails when it ends before. */
async function servingOf(child: ChildProcess): Promise<Serving> {
  const log: string[] = [];
  const listeners = new Set<() => void>();
  const ended = once(child, 'close') as Promise<[number | null]>;
  createInterface({ input: child.stderr as NodeJS.ReadableStream }).on('line', (line) => {
    log.push(line);
    for (const look of listeners) look();
  });
  const first = once(createInterface({ input: child.stdout as NodeJS.ReadableStream }), 'line');
  const uri = await Promise.race([
    first.then(([line]) => line as string),
    ended.then(([code]) => Promise.reject(new Error(`serve ended with ${code}: ${log.join('\n')}`))),
  ]);
  const records = (name: string) =>
    log
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line))
      .filter(({ event }) => event === name);
  return {
    uri,
    pid: child.pid as number,
    event: (name, nth = 1) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(() => done(), DEADLINE_MS);
        const done = () => {
          clearTimeout(timer);
          listeners.delete(look);
          const found = records(name)[nth - 1];
          if (found) resolve(found);
          else reject(new Error(`no event ${name} number ${nth} in ${log.join('\n')}`));
        };
        const look = () => records(name).length >= nth && done();
        listeners.add(look);
        look();
      }),
    stop: async (signal = 'SIGTERM') => {
      child.kill(signal);
      const [code] = await ended;
      return { code, log: log.join('\n') };
    },
  };
}

/** All names under a folder: what must be the same before and after a refusal. */
export const names = (dir: string): string[] => readdirSync(dir, { recursive: true }).map(String).sort();

/** Waits until the condition holds, asking again each 20 ms; fails at the deadline. */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + DEADLINE_MS;
  while (!(await condition())) {
    if (performance.now() > deadlineMs) throw new Error(`${what}: not within ${DEADLINE_MS} ms`);
    await new Promise((again) => setTimeout(again, 20));
  }
}
