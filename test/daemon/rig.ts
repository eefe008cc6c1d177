/**
 * The daemon, and users who are not root: the command line as a user, and a socket with whatever bytes a user sends.
 *
 * What a user runs lies where a user may read it: the program alone, without the engine, which the caller's side never needs.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, cpSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { MAIN, type Ran, rig, run } from '../cli/rig.js';

export const NOBODY = 65534;
const PACKAGE = fileURLToPath(new URL('../../package.json', import.meta.url));

export interface Daemon {
  readonly pid: number;
  /** The log record that `is` describes, when it has come. */
  log(is: (record: Record<string, unknown>) => boolean): Promise<Record<string, unknown>>;
  signal(signal: NodeJS.Signals): Promise<number | null>;
}

export async function daemonRig(t: Test) {
  const { dir, at, env, json, sealdisk } = rig(t, { SEALDISK_DAEMON: '' });
  chmodSync(dir, 0o711);
  const app = at('app/dist/bin/sealdisk.cjs');
  mkdirSync(dirname(app), { recursive: true });
  cpSync(MAIN, app);
  cpSync(PACKAGE, at('app/package.json'));
  const socket = at('run/daemon.sock');
  const daemons: ChildProcess[] = [];
  t.teardown(() => {
    for (const child of daemons) child.kill('SIGKILL');
  });
  const start = async (...options: string[]): Promise<Daemon> => {
    const words = [MAIN, 'daemon', '--socket', socket, ...options];
    const child = spawn(process.execPath, words, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    daemons.push(child);
    return daemonOf(child);
  };
  /** The command line as this user. */
  const as = (uid: number, ...words: string[]): Promise<Ran> =>
    run('setpriv', [...identity(uid), process.execPath, app, ...words], { ...env, SEALDISK_DAEMON: socket });
  /** A program of this user in JavaScript; `words` are its process.argv from the second on. */
  const script = (uid: number, code: string, ...words: string[]): Promise<Ran> =>
    run('setpriv', [...identity(uid), process.execPath, '-e', code, socket, ...words], env);
  /** What the daemon answers each of these from this user, one connection for each, all at once. */
  const send = async (uid: number, ...lines: string[]): Promise<Answer[]> =>
    JSON.parse((await script(uid, SEND, JSON.stringify(lines))).out).map(answerIn);
  /** A caller that sends the line and then waits, until it is killed. */
  const caller = (uid: number, line: string): ChildProcess => {
    const code = "require('node:net').connect(process.argv[1]).write(process.argv[2])";
    return spawn('setpriv', [...identity(uid), process.execPath, '-e', code, socket, line], {
      env,
      stdio: 'ignore',
    });
  };
  const request = (...words: string[]): string =>
    `${JSON.stringify({ version: 1, words, pool: at('pool') })}\n`;
  return { dir, at, env, json, sealdisk, socket, start, as, script, send, caller, request };
}

const identity = (uid: number): string[] => [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups'];

const SEND = `
  const lines = JSON.parse(process.argv[2]);
  const answers = lines.map((line) => new Promise((resolve) => {
    const socket = require('node:net').connect({ path: process.argv[1], allowHalfOpen: true });
    let text = '';
    socket.write(line);
    socket.on('data', (bytes) => { text += bytes; });
    socket.on('error', (error) => { text += JSON.stringify({ err: error.code }) + '\\n'; });
    socket.on('end', () => socket.destroy());
    socket.on('close', () => resolve(text));
  }));
  Promise.all(answers).then((all) => process.stdout.write(JSON.stringify(all)));
`;

export interface Answer {
  readonly out: string;
  readonly err: string;
  readonly exit: number | undefined;
}

function answerIn(text: string): Answer {
  const frames = text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
  const joined = (name: 'out' | 'err') => frames.map((frame) => frame[name] ?? '').join('');
  return { out: joined('out'), err: joined('err'), exit: frames.at(-1)?.exit };
}

async function daemonOf(child: ChildProcess): Promise<Daemon> {
  const records: Record<string, unknown>[] = [];
  const wakes = new Set<() => void>();
  createInterface({ input: child.stderr as NodeJS.ReadableStream }).on('line', (line) => {
    records.push(line.startsWith('{') ? JSON.parse(line) : { line });
    for (const wake of wakes) wake();
  });
  const ended = once(child, 'exit').then(([code]) => code as number | null);
  const ready = once(createInterface({ input: child.stdout as NodeJS.ReadableStream }), 'line');
  const first = await Promise.race([ready, ended]);
  if (!Array.isArray(first)) throw new Error(`the daemon ended with ${first}: ${JSON.stringify(records)}`);
  return {
    pid: child.pid as number,
    log: (is) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`not in ${JSON.stringify(records)}`)), 60_000);
        const look = (): void => {
          const found = records.find(is);
          if (!found) return;
          clearTimeout(timer);
          wakes.delete(look);
          resolve(found);
        };
        wakes.add(look);
        look();
      }),
    signal: (signal) => {
      child.kill(signal);
      return ended;
    },
  };
}
