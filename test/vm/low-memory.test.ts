/**
 * The same machine writes to a disk and serves it, with too little memory for both: pages wait for the server, which must
 * not wait for them. A memory cgroup of version 1 holds both, because its reclaim waits for pages under writeback; a
 * server that is no I/O flusher and has not locked its memory stands still in it at once (unprotected.c shows it).
 */

import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { promisify } from 'node:util';
import t from 'tap';
import { forgetCached } from './devices.js';
import { attached, gateIs, newDisk, nothingRemains, processesOf, run, watchKernel } from './rig.js';

const MIB = 1 << 20;
const MEMORY_BYTES = 64 * MIB;
/** Half as much again as the memory: a third of it at least is written while the rest is being made. */
const DATA_MIB = 96;
const DEADLINE_MS = 90_000;
const CGROUPS = '/run/memory-cgroups';
const SMALL = `${CGROUPS}/small`;

const bash = (line: string) =>
  promisify(execFile)('bash', ['-c', `set -o pipefail; ${line}`], { timeout: DEADLINE_MS });
/** So many MiB of the same noise each time. */
const NOISE = `openssl enc -aes-128-ctr -K 00 -iv 00 -in /dev/zero 2>/dev/null | head -c ${DATA_MIB}M`;

function makeCgroup(): void {
  mkdirSync(CGROUPS, { recursive: true });
  run('mount', '-t', 'cgroup', '-o', 'memory', 'memory', CGROUPS);
  mkdirSync(SMALL);
  writeFileSync(`${SMALL}/memory.limit_in_bytes`, `${MEMORY_BYTES}`);
  t.teardown(() => {
    rmdirSync(SMALL);
    run('umount', CGROUPS);
  });
}

t.test('more is written than there is memory, through a server that shares it', async (t) => {
  makeCgroup();
  const disk = await newDisk(4096, BigInt(DATA_MIB * MIB));
  const { device } = await attached(t, disk);
  const { serverPid } = await gateIs(disk, 'live');
  const complaints = watchKernel();
  for (const { pid } of processesOf(disk).servers) writeFileSync(`${SMALL}/cgroup.procs`, `${pid}`);

  const written = performance.now();
  await bash(
    `echo $$ >${SMALL}/cgroup.procs; (${NOISE} || :) | dd of=${device} bs=1M iflag=fullblock conv=fsync,notrunc`,
  );
  t.comment(`${DATA_MIB} MiB in ${Math.round(performance.now() - written)} ms`);
  const refused = Number(readFileSync(`${SMALL}/memory.failcnt`, 'utf8'));
  t.ok(refused > 1000, `the memory was full ${refused} times`);
  forgetCached(device);
  await bash(`(${NOISE} || :) | cmp - ${device}`);
  t.equal((await gateIs(disk, 'live')).serverPid, serverPid, 'the server is the same');
  t.same(complaints(), [], 'the kernel saw no error');
});

t.test('at the end nothing of the attachment remains', (t) => nothingRemains(t));
