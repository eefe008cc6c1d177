// What a served disk costs while nobody uses it, and how soon it serves.

import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { fill, load } from './measure.mjs';
import { median } from './report.mjs';
import { start } from './servers.mjs';

const IDLE_MS = 10_000;
const SETTLE_MS = 3_000;
const STARTS = 5;
const BUSY = { blockBytes: 4096, random: true, depth: 32 };

const busyNs = (pid) =>
  readdirSync(`/proc/${pid}/task`).reduce((sum, task) => {
    return sum + Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]);
  }, 0);

const kibOf = (pid, field) =>
  Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);

/** A section of the page. */
export async function costTable(server, dir) {
  const starts = [];
  let running;
  for (let i = 0; i < STARTS; i++) {
    await running?.stop();
    const begunMs = performance.now();
    running = await start(server, dir, '512M');
    if (i > 0) starts.push(performance.now() - begunMs);
    else await fill(running); // the first has made the disk
  }
  await load(running, BUSY, 0.5);
  await delay(SETTLE_MS);
  const before = busyNs(running.pid);
  await delay(IDLE_MS);
  const idle = (busyNs(running.pid) - before) / 1e6;
  const mib = ['RssAnon', 'VmLck', 'VmRSS'].map((field) => (kibOf(running.pid, field) / 1024).toFixed(0));
  await running.stop();
  return [
    '## What a served disk costs',
    '',
    `- From the command to the first byte of its handshake, the key unwrapped by the embedded KMS: ${median(starts).toFixed(0)} ms.`,
    `- Memory of its process: ${mib[0]} MiB of its own and ${mib[1]} MiB locked for payload at most; ${mib[2]} MiB resident, the program's pages included, which all processes share.`,
    `- Processor time while idle: ${idle.toFixed(1)} ms in ${IDLE_MS / 1000} s, two checks of its key included.`,
  ].join('\n');
}
