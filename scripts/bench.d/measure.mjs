// One measurement: a load on a server, with what it cost the server.

import { execFile } from 'node:child_process';
import { readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { fioArguments, loadArguments } from './cases.mjs';

const execute = promisify(execFile);
const GIB = 1024 ** 3;
const TICKS_PER_SECOND = 100; // USER_HZ
const LOAD = 'build/native-test/fast/nbd_load';

/** Processor seconds of a process and all its threads, those that have ended too. */
function cpuSeconds(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** What the disk under a folder has done (/proc/diskstats, Documentation/admin-guide/iostats.rst); undefined where it has none. */
function diskTime(folder) {
  const { dev } = statSync(folder);
  const number = [(dev >> 8) & 0xfff, (dev & 0xff) | ((dev >> 12) & 0xfff00)];
  const line = readFileSync('/proc/diskstats', 'utf8')
    .split('\n')
    .map((text) => text.trim().split(/\s+/).map(Number))
    .find(([major, minor]) => major === number[0] && minor === number[1]);
  return line && { busyMs: line[12], waitedMs: line[13] };
}

/** `measure`, and how many operations were at the disk under the folder while it had any, on average. */
export async function withDepth(folder, measure) {
  const before = diskTime(folder);
  const result = await measure();
  const after = diskTime(folder);
  return after
    ? { ...result, depth: (after.waitedMs - before.waitedMs) / (after.busyMs - before.busyMs) }
    : result;
}

const bounded = async (file, args, seconds) =>
  (await execute('timeout', [String(seconds), file, ...args.map(String)])).stdout;

/** Writes the whole export, so that every read finds the bytes that it expects. */
export const fill = (server) => bounded(LOAD, [...server.reach, '--fill'], 120);

/** With the project's own client: { perSecond, p50Us, p99Us, verified, cpuPerGiB }. */
export async function load(server, what, seconds) {
  const before = cpuSeconds(server.pid);
  const seen = JSON.parse(
    await bounded(LOAD, [...server.reach, ...loadArguments(what), '--seconds', seconds], 30 + seconds),
  );
  const cpu = cpuSeconds(server.pid) - before;
  const { perSecond, p50Us, p99Us, verified, requestsInAll } = seen;
  return { perSecond, p50Us, p99Us, verified, cpuPerGiB: cpu / ((requestsInAll * what.blockBytes) / GIB) };
}

async function fio(engine, what, seconds) {
  const output = join(tmpdir(), `sealdisk-fio-${process.pid}.json`);
  try {
    const options = [
      '--name=job',
      ...engine,
      ...fioArguments(what),
      '--time_based',
      `--runtime=${Math.round(seconds * 1000)}ms`,
    ];
    await bounded('fio', [...options, '--output-format=json', `--output=${output}`], 30 + seconds);
    const job = JSON.parse(readFileSync(output, 'utf8')).jobs[0];
    const side = what.write ? job.write : job.read;
    const cpuSeconds = ((job.usr_cpu + job.sys_cpu) / 100) * (job.job_runtime / 1e3);
    return {
      perSecond: side.iops,
      p99Us: side.clat_ns.percentile['99.000000'] / 1e3,
      ownCpuPerGiB: cpuSeconds / (side.io_bytes / GIB),
    };
  } finally {
    rmSync(output, { force: true });
  }
}

/** With fio's NBD engine. */
export const fioOverNbd = (server, what, size, seconds) =>
  fio(['--ioengine=nbd', `--uri=${server.uri}`, `--size=${size}`], what, seconds);

/** With fio's io_uring engine on a file, past the page cache. */
export async function fioOnFile(path, size, what, seconds) {
  const engine = ['--ioengine=io_uring', '--direct=1', `--filename=${path}`, `--size=${size}`];
  const { ownCpuPerGiB, ...seen } = await fio(engine, what, seconds);
  return { ...seen, cpuPerGiB: ownCpuPerGiB };
}
