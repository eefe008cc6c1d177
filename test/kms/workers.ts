/** Starting worker.ts, and hearing what it tells. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';

const WORKER = fileURLToPath(new URL('./worker.js', import.meta.url));

export interface Worker {
  readonly child: ChildProcess;
  /** What it told so far, whole lines only. */
  told(): unknown[];
  readonly ended: Promise<unknown[]>;
}

/** Starts a worker; it is killed when `t` ends. */
export function startWorker(t: Test, dir: string, ...task: string[]): Worker {
  const child = spawn(process.execPath, [WORKER, dir, ...task], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.teardown(() => child.kill('SIGKILL'));
  let text = '';
  child.stdout?.on('data', (data: Buffer) => {
    text += data;
  });
  const told = () =>
    text
      .slice(0, text.lastIndexOf('\n') + 1)
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as unknown);
  return { child, told, ended: once(child, 'close').then(told) };
}
