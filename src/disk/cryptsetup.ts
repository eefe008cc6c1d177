/**
 * cryptsetup as a child process: the one that makes and opens keyslots, so that none is ours alone.
 *
 * Kept true: a secret reaches it, or leaves it, by a pipe of the kernel: never by an argument, the environment or a file.
 * (Node's own pipes are sockets, which cannot be opened by name; a FIFO that has lost its name is a pipe.) A secret read
 * from it stands in secure memory alone on our side.
 */

import { execFileSync, spawn } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errnoOf, fail } from '../errors.js';
import { allocSecret } from '../kms/local/secret.js';
import type { SecretBytes } from '../kms/provider.js';

/** Argon2id may want many seconds on a small machine; a lock that is never let go ends here. */
const TIMEOUT_MS = 300_000;
const OUTPUT_MAX_BYTES = 4096;
/** The first that a child inherits beside standard input, output and error. */
const FIRST_FD = 3;
/** cryptsetup(8), RETURN CODES. */
export const NO_KEY = 2;

/** Puts a secret into the pipe behind `fd`: at most what a pipe takes at once, 4096 bytes. */
export type Pour = (fd: number) => void;

/** What was said on standard error when it failed. */
export interface Ended {
  readonly code: number;
  readonly said: string;
}

/** The name by which the child opens the pipe of the `index`th of its secrets. */
export const secretPath = (index: number): string => `/dev/fd/${FIRST_FD + index}`;

/** Runs cryptsetup with `secrets` in pipes. Fails with CRYPTSETUP when it cannot be run, or does not end. */
export async function cryptsetup(args: readonly string[], secrets: readonly Pour[]): Promise<Ended> {
  return withPipes(secrets.length, (pipes) => {
    secrets.forEach((pour, i) => {
      pour((pipes[i] as Pipe).fd);
    });
    return ended(args, ['ignore', 'ignore', 'pipe', ...pipes.map(({ fd }) => fd)]);
  });
}

/** As `cryptsetup`, and hands what it printed to `take`, in secure memory that is the taker's to free. */
export async function cryptsetupOutput(
  args: readonly string[],
  secrets: readonly Pour[],
  take: (output: SecretBytes, sizeBytes: number) => void,
): Promise<Ended> {
  return withPipes(secrets.length + 1, async (pipes) => {
    const [output, ...inputs] = pipes as [Pipe, ...Pipe[]];
    secrets.forEach((pour, i) => {
      pour((inputs[i] as Pipe).fd);
    });
    const end = await ended(args, ['ignore', output.fd, 'pipe', ...inputs.map(({ fd }) => fd)]);
    if (end.code !== 0) return end;
    const room = allocSecret(OUTPUT_MAX_BYTES);
    take(room, readSync(output.readFd, room));
    return end;
  });
}

/** `fd` reads and writes, so that no open waits; `readFd` only reads, and never waits. */
interface Pipe {
  readonly fd: number;
  readonly readFd: number;
}

async function withPipes<T>(count: number, use: (pipes: readonly Pipe[]) => Promise<T>): Promise<T> {
  const pipes: Pipe[] = [];
  try {
    for (let i = 0; i < count; i++) pipes.push(pipe());
    return await use(pipes);
  } finally {
    for (const { fd, readFd } of pipes) {
      closeSync(fd);
      closeSync(readFd);
    }
  }
}

function pipe(): Pipe {
  const dir = mkdtempSync(join(tmpdir(), 'sealdisk-pipe-'));
  try {
    const path = join(dir, 'pipe');
    execFileSync('mkfifo', ['-m', '600', path]);
    const readFd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    return { fd: openSync(path, constants.O_RDWR), readFd };
  } catch (error) {
    return fail('CRYPTSETUP', { why: `no pipe: ${errnoOf(error)}` }, error);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Fills a pipe with bytes that stay the caller's. */
export const pourBytes =
  (bytes: Uint8Array): Pour =>
  (fd) => {
    writeSync(fd, bytes);
  };

function ended(args: readonly string[], stdio: ('ignore' | 'pipe' | number)[]): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, LC_ALL: 'C', PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` };
    const child = spawn('cryptsetup', ['--batch-mode', ...args], { stdio, env, timeout: TIMEOUT_MS });
    const said: string[] = [];
    child.stderr?.setEncoding('utf8').on('data', (text: string) => said.push(text));
    const refuse = (why: string, cause?: unknown) => {
      try {
        fail('CRYPTSETUP', { why }, cause);
      } catch (failure) {
        reject(failure);
      }
    };
    child.once('error', (error) => refuse(errnoOf(error), error));
    child.once('close', (code, signal) => {
      if (code === null) refuse(`ended by ${signal}`);
      else resolve({ code, said: said.join('').trim().split('\n')[0] ?? '' });
    });
  });
}
