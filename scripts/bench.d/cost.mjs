// What a served disk costs while nobody uses it, and how soon it serves.

import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { attachedMemory, attachStarts } from './attachment.mjs';
import { fill, load } from './measure.mjs';
import { median } from './report.mjs';
import { start } from './servers.mjs';

const IDLE_MS = 10_000;
const WINDOWS = 4;
const STARTS = 5;
const BUSY = { blockBytes: 4096, random: true, depth: 32 };

const busyNs = (pid) =>
  readdirSync(`/proc/${pid}/task`).reduce((sum, task) => {
    return sum + Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]);
  }, 0);

const kibOf = (pid, field) =>
  Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);

/** Processor time of ten idle seconds each, from the end of a load on, until it falls no more: V8 clears up first. */
async function settled(pid) {
  const seen = [];
  do {
    const before = busyNs(pid);
    await delay(IDLE_MS);
    seen.push((busyNs(pid) - before) / 1e6);
  } while (seen.length < WINDOWS && (seen.length < 2 || seen.at(-1) < seen.at(-2)));
  return seen;
}

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
  const idle = await settled(running.pid);
  const mib = ['RssAnon', 'VmLck', 'RssFile'].map((field) => (kibOf(running.pid, field) / 1024).toFixed(0));
  await running.stop();
  return [
    '## What a disk costs',
    '',
    `- \`sealdisk serve\`, from the command to the first byte of its handshake, the key unwrapped by the embedded KMS: ${median(starts).toFixed(0)} ms.`,
    attachLine(await attachStarts(dir)),
    `- Memory of a served disk: ${mib[0]} MiB of its own and ${mib[1]} MiB locked for payload at most; ${mib[2]} MiB of Node's and our own files, which all processes share.`,
    memoryLine(attachedMemory()),
    `- Processor time of a served disk while idle, two checks of its key included: ${Math.min(...idle).toFixed(1)} ms in ${IDLE_MS / 1000} s when settled; from the end of a load on ${idle.map((one) => one.toFixed(1)).join(', ')} ms.`,
  ].join('\n');
}

const attachLine = (seen) =>
  seen
    ? `- \`sealdisk attach\`, from the command to the kernel's refusal of the device, which this one has not, and the clearing up after it, the KMS's answer included: ${seen.attachMs.toFixed(0)} ms, of which Node takes ${(3 * seen.emptyMs).toFixed(0)} to start three times, one after the other (${seen.emptyMs.toFixed(0)} ms for an empty program).`
    : '- `sealdisk attach`: not measured, this machine gives no mount namespace.';

const inMib = (kib) => (kib / 1024).toFixed(0);
const total = (processes, field) => inMib(processes.reduce((sum, one) => sum + one[field], 0));

const memoryLine = (processes) =>
  `- Memory of an attached disk, in a guest, after 64 MiB written and read: ${total(processes, 'anonymous')} MiB that nobody shares (${processes
    .map((one) => `${one.name} ${inMib(one.anonymous)}`)
    .join(
      ', ',
    )}), buffers for payload included; beside them ${inMib(Math.max(...processes.map((one) => one.files)))} MiB of Node's and our own files, one copy for all processes of all disks.`;
