/**
 * qemu-img, which knows the formats of others, at work on what it is given and on nothing else.
 *
 * It reads and writes through descriptors that it inherits (offer.ts). Where this process is root it runs as a user whom
 * nobody is, without groups: what a hostile file makes it try, it may not. It leaves no core file, which would hold
 * plaintext, and has bounded memory.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { engine } from '../engine/engine.js';
import { errnoOf, fail } from '../errors.js';
import type { ImageFormat } from './format.js';
import { connectTo, type Offer } from './offer.js';

/** systemd's range for users that exist for a while; user namespaces of 65536 ids have it, too. */
const TRANSIENT_UIDS = { first: 61_184, count: 4_336 } as const;
const MEMORY_MAX_BYTES = 2 ** 32;
/** The first descriptor behind standard error. */
const FIRST_FD = 3;
const SAID_MAX = 65_536;
/** How prlimit ends, as a shell does, when it cannot run the program. */
const NOT_RUN = [126, 127];
/** What may lie over another image. */
const CHAINED: readonly ImageFormat[] = ['qcow2', 'vmdk'];

export interface Job {
  /** A name for errors. */
  readonly path: string;
  /** Its words, given the numbers of its descriptors: one for each offer, in their order. */
  words(fds: readonly number[]): string[];
  readonly offers: readonly Offer[];
  /** As its own user, which has no right to any file. */
  readonly apart: boolean;
  /** What its standard input holds. It stays the caller's. */
  readonly secret?: Uint8Array;
  readonly onShare?: (share: number) => void;
  readonly signal?: AbortSignal;
}

export interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** What qemu-img is told of an image that lies behind the descriptor `fd`: it stands by itself. */
export const nodeOf = (format: ImageFormat, fd: number): string =>
  `json:${JSON.stringify({
    driver: format,
    ...(CHAINED.includes(format) ? { backing: null } : {}),
    file: { driver: 'nbd', export: '', server: { type: 'fd', str: `${fd}` } },
  })}`;

/** Runs it to its end, which may be bad. IMAGE_TOOL when it cannot be run, CONVERT_CANCELLED. */
export async function qemuImg(job: Job): Promise<Ended> {
  const { path, offers, secret, signal } = job;
  if (signal?.aborted) fail('CONVERT_CANCELLED', { path });
  const ends = offers.map(connectTo);
  const kill = () => child?.pid && process.kill(-child.pid, 'SIGKILL');
  let child: ChildProcess | undefined;
  try {
    child = start(
      job,
      ends.map(({ fd }) => fd),
    );
    signal?.addEventListener('abort', kill);
  } finally {
    for (const { fd } of ends) engine().closeFd(fd);
  }
  try {
    if (secret) hand(child.stdin as Writable, secret);
    const [out, err, code] = await Promise.all([
      said(child.stdout as Readable, job.onShare),
      said(child.stderr as Readable),
      codeOf(child, path),
    ]);
    if (signal?.aborted) fail('CONVERT_CANCELLED', { path });
    const ended = { code, out, err };
    if (NOT_RUN.includes(code)) fail('IMAGE_TOOL', { path, said: firstLine(ended) });
    return ended;
  } finally {
    signal?.removeEventListener('abort', kill);
    await Promise.all(ends.map(({ gone }) => gone));
  }
}

/** As `qemuImg`, and an end that is bad is IMAGE_TOOL. */
export async function mustRun(job: Job): Promise<Ended> {
  const ended = await qemuImg(job);
  if (ended.code !== 0) fail('IMAGE_TOOL', { path: job.path, said: firstLine(ended) });
  return ended;
}

/** In a group of its own, which is killed together. */
function start(job: Job, fds: readonly number[]): ChildProcess {
  const numbers = fds.map((_, i) => FIRST_FD + i);
  const uid = TRANSIENT_UIDS.first + (process.pid % TRANSIENT_UIDS.count);
  const limited = ['prlimit', '--core=0', `--as=${MEMORY_MAX_BYTES}`, 'qemu-img', ...job.words(numbers)];
  // What Node calls a pipe is a socket, which cannot be opened by its name as qemu-img does with a secret's file.
  const [program = '', ...words] = job.secret ? ['sh', '-c', 'cat | exec "$@"', 'sh', ...limited] : limited;
  return spawn(program, words, {
    stdio: [job.secret ? 'pipe' : 'ignore', 'pipe', 'pipe', ...fds],
    cwd: '/',
    env: { PATH: process.env.PATH, LC_ALL: 'C' },
    detached: true,
    ...(job.apart && process.getuid?.() === 0 ? { uid, gid: uid } : {}),
  });
}

/** It may go before it has read all. */
function hand(pipe: Writable, secret: Uint8Array): void {
  pipe.on('error', () => {});
  pipe.end(secret);
}

async function codeOf(child: ChildProcess, path: string): Promise<number> {
  try {
    const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
    return code ?? fail('IMAGE_TOOL', { path, said: `${signal}` });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error;
    return fail('IMAGE_TOOL', { path, said: errnoOf(error) }, error);
  }
}

/** What it prints, as far as anybody reads it; how far it is (`-p`) goes to `onShare`. */
async function said(stream: Readable, onShare?: (share: number) => void): Promise<string> {
  let text = '';
  stream.setEncoding('utf8');
  for await (const chunk of stream as AsyncIterable<string>) {
    const percent = /\((\d+\.\d+)\/100%\)\r[^%]*$/.exec(chunk)?.[1];
    if (percent !== undefined) onShare?.(Number(percent) / 100);
    if (text.length < SAID_MAX) text += chunk;
  }
  return text;
}

/** The line that says what went wrong, without the words that only we have given it. */
export function firstLine({ code, out, err }: Ended): string {
  const lines = `${err}\n${out}`
    .split(/[\r\n]+/)
    .filter((line) => line.trim() !== '' && !/\/100%\)/.test(line));
  const line = (lines[0] ?? `exit code ${code}`).replace(/^qemu-img: /, '');
  return line.replace(/'?json:\{.*\}'?/, 'it').replace(/\p{Cc}/gu, '?');
}
