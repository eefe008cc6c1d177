/** The process that writes numbered records, and the proof that each one that was acknowledged is there. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { RECORD_BYTES, record } from './record.js';
import { until } from './rig.js';

const WRITER = fileURLToPath(new URL('./writer.js', import.meta.url));

/** The number of the first record of `count` that is not as it was written; 0 when all are. */
export function firstWrong(path: string, count: number): number {
  const bytes = readFileSync(path);
  for (let n = 1; n <= count; n++) {
    if (!record(n).equals(bytes.subarray((n - 1) * RECORD_BYTES, n * RECORD_BYTES))) return n;
  }
  return 0;
}

/** A process that appends records to a file until it is told to stop. */
export class Writer {
  acknowledged = 0;
  errors = '';
  readonly #child: ChildProcess;
  readonly #stop: string;
  readonly #ended: Promise<unknown[]>;

  constructor(t: Test, path: string) {
    this.#stop = `/run/stop${path.replaceAll('/', '-')}`;
    rmSync(this.#stop, { force: true });
    this.#child = spawn(process.execPath, [WRITER, path, this.#stop], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#ended = once(this.#child, 'close');
    if (this.#child.stdout) {
      createInterface({ input: this.#child.stdout }).on('line', (line) => {
        this.acknowledged = Number(line);
      });
    }
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.errors += text;
    });
    t.teardown(() => this.#child.kill('SIGKILL'));
  }

  /** Until `more` records more are acknowledged. */
  async advance(more: number, deadlineMs?: number): Promise<void> {
    const goal = this.acknowledged + more;
    await until(`record ${goal}`, () => this.acknowledged >= goal || this.errors !== '', deadlineMs);
    if (this.acknowledged < goal) throw new Error(`the writer met ${this.errors}`);
  }

  /** Until the process waits in the kernel. */
  async waits(): Promise<void> {
    const path = `/proc/${this.#child.pid}/stat`;
    await until('the writer to wait in the kernel', () => / D /.test(readFileSync(path, 'utf8')));
  }

  /** Lets it end by itself; its exit code. */
  async stop(): Promise<unknown> {
    writeFileSync(this.#stop, '');
    return this.ended();
  }

  async ended(): Promise<unknown> {
    const [code] = await this.#ended;
    return code;
  }
}
