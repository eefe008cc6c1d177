// What an attached disk costs: how soon it is there, and the memory of its processes.

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { median } from './report.mjs';
import { environment, run } from './servers.mjs';

const MAIN = 'dist/bin/sealdisk.cjs';
const STARTS = 9;
/** For the processes of an attach that has failed to end. */
const END_MS = 500;

/** Where a container may not mark a thread as an I/O flusher, the mark is left out: it takes no time. */
const UNMARKED = `
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
int prctl(int option, ...) {
  unsigned long w[4];
  va_list rest;
  va_start(rest, option);
  for (int i = 0; i < 4; i++) w[i] = va_arg(rest, unsigned long);
  va_end(rest);
  return option == PR_SET_IO_FLUSHER ? 0 : (int)syscall(SYS_prctl, option, w[0], w[1], w[2], w[3]);
}
`;

/** A view of this machine that has an nbd driver in sysfs, though the kernel has none. */
const WITH_DRIVER = 'mount -t tmpfs none /sys/module && mkdir /sys/module/nbd && exec "$@"';

/**
 * Milliseconds from the command to its end, of attaches that go all the way, the key unwrapped and the disk open, until
 * the kernel is asked for the device, which this one has not; and of an empty Node program. Undefined without the rights.
 */
export async function attachStarts(parent) {
  const dir = mkdtempSync(join(parent, 'attach.'));
  const pool = join(dir, 'pool');
  const disk = join(dir, 'a.disk');
  mkdirSync(pool);
  run('node', [MAIN, 'create', disk, '--size', '512M', '--pool', pool]);
  const source = join(dir, 'unmarked.c');
  writeFileSync(source, UNMARKED);
  run('cc', ['-shared', '-fPIC', '-O1', '-o', join(dir, 'unmarked.so'), source]);
  const env = { ...environment(), SEALDISK_RUN: join(dir, 'run'), LD_PRELOAD: join(dir, 'unmarked.so') };
  const timed = (words) => {
    const loop = `
      const { spawnSync } = require('node:child_process');
      const begunMs = performance.now();
      const { stderr } = spawnSync('node', ${JSON.stringify(words)}, { encoding: 'utf8' });
      process.stdout.write(JSON.stringify({ ms: performance.now() - begunMs, stderr }));`;
    const view = ['--mount', 'sh', '-c', WITH_DRIVER, 'sh', 'node', '-e', loop];
    const ran = spawnSync('unshare', view, { env, encoding: 'utf8' });
    return ran.status === 0 ? JSON.parse(ran.stdout) : undefined;
  };
  const [starts, empty] = [[], []];
  try {
    for (let i = 0; i < STARTS; i++) {
      const attach = timed([MAIN, 'attach', disk, '--pool', pool]);
      if (!attach?.stderr.includes('KERNEL_NO_NBD')) return undefined;
      starts.push(attach.ms);
      empty.push(timed(['-e', '0']).ms);
      await delay(END_MS);
    }
    return { attachMs: median(starts), emptyMs: median(empty) };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** In a guest of scripts/vm, after 64 MiB were written and read: the kernel's own account of each process. */
const MEMORY = `
set -e
export SEALDISK_POOL=$VM_SCRATCH/pool
mkdir -p "$SEALDISK_POOL"
node ${MAIN} create "$VM_SCRATCH/a.disk" --size 128M >/dev/null
nbd=$(node ${MAIN} attach "$VM_SCRATCH/a.disk" | tail -n 1)
dd if=/dev/zero of="$nbd" bs=1M count=64 oflag=direct status=none
dd if="$nbd" of=/dev/null bs=1M count=64 iflag=direct status=none
until [[ $(pgrep -fc 'bin/[a-z]*-main[.]cjs') == 3 ]]; do sleep 0.1; done
sleep 5
for pid in $(pgrep -f 'bin/[a-z]*-main[.]cjs'); do
  name=$(tr '\\0' '\\n' <"/proc/$pid/cmdline" | grep -o '[a-z]*-main')
  awk -v name="$name" '{ kib[$1] = $2 } END { print "@@", name, kib["Anonymous:"], kib["Private_Dirty:"], kib["Private_Clean:"] + kib["Shared_Clean:"], kib["Pss:"] }' "/proc/$pid/smaps_rollup"
done
node ${MAIN} detach "$nbd" >/dev/null
`;

/** KiB of each process of one attached disk: anonymous memory, private written memory, pages of files, proportional share. */
export function attachedMemory() {
  const out = run('scripts/vm', ['--mem', '1G', '--timeout', '120', MEMORY], { timeout: 150_000 });
  return [...out.matchAll(/^@@ (\S+) (\d+) (\d+) (\d+) (\d+)$/gm)].map(([, name, ...kib]) => {
    const [anonymous, written, files, pss] = kib.map(Number);
    return { name, anonymous, written, files, pss };
  });
}
