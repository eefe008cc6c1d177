/**
 * One run of a program: a line in, a line out.
 *
 * Kept true: it ends at its deadline with all that it started (it leads a process group of its own); what it prints is
 * bounded, and shown nowhere; its environment is made here and holds nothing of ours but what the operator lets through;
 * it is no part of our exemption from the OOM killer. Buffers that held the request are overwritten.
 */

import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { errnoOf, fail, SealdiskError } from '../../../errors.js';
import type { Deadline } from '../../local/deadline.js';
import { distrust } from './ownership.js';

export const REPLY_MAX_BYTES = 1 << 16;
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const NEWLINE = 0x0a;
/** Names of variables that the program gets from our environment, separated by spaces. */
const PASSED_ON = 'SEALDISK_EXEC_ENV';

/** The environment of a program: that of nobody, and what the operator names. */
export function programEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const names = (env[PASSED_ON] ?? '').split(/[\s,]+/).filter((name) => env[name] !== undefined);
  return { PATH, LANG: 'C.UTF-8', ...Object.fromEntries(names.map((name) => [name, env[name]])) };
}

/**
 * The line that `program` printed for `request`, without its newline; the caller overwrites it. Fails with KMS_TIMEOUT,
 * KMS_CONNECTION when it may not or cannot be run, KMS_SERVER_ERROR when it ended badly, KMS_BAD_REPLY.
 */
export async function runProgram(
  program: string,
  env: NodeJS.ProcessEnv,
  request: Buffer,
  deadline: Deadline,
): Promise<Buffer> {
  try {
    const why = await deadline.bound(
      () => distrust(program),
      () => {},
    );
    if (why !== undefined) fail('KMS_CONNECTION', { keyUri: deadline.keyUri, why });
    return await new Run(started(program, env, deadline.keyUri), deadline).line(request);
  } finally {
    request.fill(0);
  }
}

type Child = ChildProcessByStdio<Writable, Readable, null>;

/** What it says on its standard error may hold anything: that is for the program's own log. */
function started(program: string, env: NodeJS.ProcessEnv, keyUri: string): Child {
  try {
    return spawn(program, [], { cwd: '/', env, detached: true, stdio: ['pipe', 'pipe', 'ignore'] });
  } catch (error) {
    return cannotRun(error, keyUri);
  }
}

function cannotRun(error: unknown, keyUri: string): never {
  return fail('KMS_CONNECTION', { keyUri, why: `its program cannot be run (${errnoOf(error)})` });
}

class Run {
  readonly #parts: Buffer[] = [];
  #sizeBytes = 0;
  #giveUp: (failure: SealdiskError) => void = () => {};

  constructor(
    private readonly child: Child,
    private readonly deadline: Deadline,
  ) {}

  /** Feeds it, waits for its end, and judges it. Whether it dies when it is killed is not waited for. */
  async line(request: Buffer): Promise<Buffer> {
    const { keyUri, timeoutMs, remainingMs } = this.deadline;
    const late = () => this.#giveUp(new SealdiskError('KMS_TIMEOUT', { keyUri, timeoutMs }));
    const timer = setTimeout(late, remainingMs);
    try {
      const [code, signal] = await this.#ending(request);
      return this.#judge(code, signal);
    } catch (error) {
      this.#killGroup();
      throw error instanceof SealdiskError ? error : cannotRun(error, keyUri);
    } finally {
      clearTimeout(timer);
      this.child.stdin.destroy();
      this.child.stdout.destroy();
      for (const part of this.#parts) part.fill(0);
    }
  }

  /** How it ended, all its output read. */
  #ending(request: Buffer): Promise<[number | null, string | null]> {
    const { child } = this;
    return new Promise((resolve, reject) => {
      this.#giveUp = reject;
      child.once('spawn', () => mayBeKilled(child.pid));
      child.on('error', reject);
      // A program that does not read its input may still answer.
      child.stdin.on('error', () => {});
      child.stdin.end(request);
      child.stdout.on('data', (part: Buffer) => this.#take(part));
      // What it started and left behind ends with it, or its output would not.
      child.once('exit', () => this.#killGroup());
      child.once('close', (...ending) => resolve(ending));
    });
  }

  #take(part: Buffer): void {
    this.#parts.push(part);
    this.#sizeBytes += part.length;
    if (this.#sizeBytes <= REPLY_MAX_BYTES) return;
    const why = `more than ${REPLY_MAX_BYTES} bytes`;
    this.#giveUp(new SealdiskError('KMS_BAD_REPLY', { keyUri: this.deadline.keyUri, why }));
  }

  #judge(code: number | null, signal: string | null): Buffer {
    const { keyUri } = this.deadline;
    if (code !== 0) {
      fail('KMS_SERVER_ERROR', { keyUri, why: signal ? `ended by ${signal}` : `exit code ${code}` });
    }
    const whole = Buffer.alloc(this.#sizeBytes);
    let at = 0;
    for (const part of this.#parts) at += part.copy(whole, at);
    const end = whole.at(-1) === NEWLINE ? -1 : whole.length;
    const line = whole.subarray(0, end);
    if (line.length > 0 && !line.includes(NEWLINE)) return line;
    whole.fill(0);
    return fail('KMS_BAD_REPLY', { keyUri, why: 'it did not print one line' });
  }

  #killGroup(): void {
    try {
      if (this.child.pid !== undefined) process.kill(-this.child.pid, 'SIGKILL');
    } catch {
      // Nobody of it is left.
    }
  }
}

/** A server of disks is spared by the OOM killer, and what it starts would be, too. */
function mayBeKilled(pid: number | undefined): void {
  try {
    if (Number(readFileSync('/proc/self/oom_score_adj', 'latin1')) < 0) {
      writeFileSync(`/proc/${pid}/oom_score_adj`, '0');
    }
  } catch {
    // It has ended, or there is no such file here.
  }
}
