/**
 * What the tests on the real kernel share: disks, attachments, mounts, and waiting.
 *
 * Kept true: the test process never touches a file system whose disk may hang (children do); it awaits conditions, each
 * with a deadline that a loaded machine meets; what a test leaves is taken away after it, so that the next one starts
 * with nothing attached. A process start costs the guest a second: what needs no command line is called here directly.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Test } from 'tap';
import { type Attachment, attach, detach, list } from '#sealdisk/attach/attachments.js';
import { askControl, type ControlStatus } from '#sealdisk/attach/control.js';
import type { AttachmentState, AttachRequest } from '#sealdisk/attach/state.js';
import { type CreatedDisk, createDisk } from '#sealdisk/disk/create.js';
import { LocalKms } from '#sealdisk/kms/local/local-kms.js';
import { openProvider } from '#sealdisk/kms/registry.js';

export const DEADLINE_MS = 90_000;
/** Each look costs system calls, which are dear in a guest with one processor: who waits must not keep busy what is awaited. */
const POLL_MS = 50;
/** What a guest needs to start Node on a machine that does nothing else. */
const QUIET_START_MS = 500;
const SIZE_BYTES = 48n * 1024n * 1024n;
const MAIN = 'dist/bin/sealdisk.cjs';
const RUN_DIR = '/run/sealdisk';

export const poolDir = process.env.SEALDISK_POOL ?? '';
mkdirSync(poolDir, { recursive: true });
export const environment = { poolDir, env: process.env };
export const kms = LocalKms.open(join(poolDir, 'kms'));

export const run = (command: string, ...args: string[]): string =>
  execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

/** The command line as a user runs it. */
export function sealdisk(...args: string[]): { code: number | null; out: string; err: string } {
  const ended = spawnSync(process.execPath, [MAIN, ...args], { encoding: 'utf8', timeout: DEADLINE_MS });
  return { code: ended.status, out: ended.stdout, err: ended.stderr };
}

/** Waits until `look` gives something; what it gave. */
export async function until<T>(
  what: string,
  look: () => T | Promise<T>,
  deadlineMs = DEADLINE_MS,
): Promise<NonNullable<Exclude<T, false>>> {
  const endsMs = performance.now() + deadlineMs;
  for (;;) {
    const seen = await look();
    if (seen) return seen as NonNullable<Exclude<T, false>>;
    if (performance.now() >= endsMs) throw new Error(`${what}: not within ${deadlineMs} ms`);
    await delay(POLL_MS);
  }
}

let made = 0;

/** A key of its own and a disk under it. */
export async function newDisk(
  sectorSize: 512 | 4096 = 4096,
  sizeBytes = SIZE_BYTES,
  dir = poolDir,
  discard = false,
): Promise<CreatedDisk & { key: string }> {
  const alias = `alias/test-${process.pid}-${made++}`;
  await kms.createKey({ alias });
  const key = `local:${alias}`;
  const provider = await openProvider(key, { poolDir, env: process.env });
  try {
    const path = join(dir, `${alias.slice('alias/'.length)}.disk`);
    return {
      ...(await createDisk({ path, sizeBytes, sectorSize, name: '', tags: {}, discard }, provider, 30_000)),
      key,
    };
  } finally {
    await provider.close();
  }
}

export const requestFor = (
  disk: CreatedDisk,
  options: Partial<AttachRequest> = {},
): Omit<AttachRequest, 'uuid'> => ({
  path: disk.path,
  poolDir,
  index: null,
  readOnly: false,
  direct: false,
  discard: false,
  expectedKey: null,
  onKeyLoss: 'hang',
  checkIntervalMs: 500,
  graceMs: null,
  kmsWaitMs: 1_000,
  standby: false, // for tests of takeovers
  logLevel: 'info',
  ...options,
});

/** Attaches for the length of the test: whatever becomes of it, nothing is attached or mounted afterwards. */
export async function attached(
  t: Test,
  disk: CreatedDisk,
  options: Partial<AttachRequest> = {},
): Promise<AttachmentState & { device: string; index: number }> {
  const state = await attach(requestFor(disk, options));
  t.teardown(() => takeAway(disk));
  return state as AttachmentState & { device: string; index: number };
}

/** The end of an attachment, also of one that hangs, is mounted, or has lost its processes. */
async function takeAway(disk: CreatedDisk): Promise<void> {
  const state = (await list()).find((one) => one.uuid === disk.uuid);
  if (!state) return;
  spawnSync('umount', ['-l', `/run/mnt${state.device}`]);
  await detach(disk.path, true);
}

export const status = (disk: CreatedDisk) =>
  askControl<ControlStatus>(disk.uuid, { verb: 'status' }, 5_000).catch(() => undefined);

export const gateIs = (disk: CreatedDisk, gate: ControlStatus['gate']) =>
  until(`the gate to be ${gate}`, async () => {
    const seen = await status(disk);
    return seen?.gate === gate && seen;
  });

export const listed = async (disk: CreatedDisk): Promise<Attachment> =>
  until('the attachment in the list', async () => (await list()).find((one) => one.uuid === disk.uuid));

/** Makes an ext4 on the device and mounts it; where. */
export function mountNew(device: string): string {
  run('mkfs.ext4', '-q', '-E', 'lazy_itable_init=0,nodiscard', device);
  return mount(device);
}

export function mount(device: string, ...options: string[]): string {
  const dir = `/run/mnt${device}`;
  mkdirSync(dir, { recursive: true });
  run('mount', ...options, device, dir);
  return dir;
}

export const umount = (dir: string) => run('umount', dir);

/** Throws with what fsck says unless the file system is clean. */
export const fsck = (device: string) => run('fsck.ext4', '-fn', device);

export const sha256 = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

const COMPLAINT =
  /I\/O error|(EXT4-fs|BTRFS) (error|critical)|XFS .*(orrupt|hutting down)|Aborting journal|Remounting filesystem read-only|lost async page/;

/** From now on: what the kernel complains of. */
export function watchKernel(): () => string[] {
  const mark = `sealdisk test ${process.pid} ${performance.now()}`;
  writeFileSync('/dev/kmsg', `${mark}\n`);
  return () => {
    const [, since] = run('dmesg').split(mark);
    if (since === undefined) throw new Error('the kernel log is too short for what was logged');
    return since.split('\n').filter((line) => COMPLAINT.test(line));
  };
}

export interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly command: string;
}

/** Of threads of the kernel, which have no command line and are most of what there is: looked at once. */
const kernelThreads = new Set<string>();
const KTHREADD = 2;

function statOf(pid: string): { state: string; parent: number } {
  const [state = '', parent] = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ');
  return { state, parent: Number(parent) };
}

/** Processes whose command line matches; the dead that nobody has awaited do not count. */
export function processes(pattern: RegExp): Process[] {
  const found: Process[] = [];
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name) && !kernelThreads.has(name))) {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      if (command !== '' && !pattern.test(command)) continue;
      const { state, parent } = statOf(pid);
      if (parent === KTHREADD) kernelThreads.add(pid);
      else if (state !== 'Z' && pattern.test(command)) found.push({ pid: Number(pid), parent, command });
    } catch {
      // It ended while it was looked at.
    }
  }
  return found;
}

/** The processes of a disk's attachment. `standby` is the second server. */
export function processesOf(disk: CreatedDisk, serverPid?: number) {
  const all = processes(/(server|supervisor)-main\.cjs/).filter((one) => one.command.includes(disk.uuid));
  const servers = all.filter((one) => one.command.includes('server-main.cjs'));
  return {
    all,
    supervisor: all.find((one) => one.command.includes('supervisor-main.cjs')),
    servers,
    standby: servers.find((one) => one.pid !== serverPid),
  };
}

const isAlive = (pid: number) => processes(/./).some((one) => one.pid === pid);

/** True when a server has loaded everything: it makes itself safe from the OOM killer then. */
export const isLoaded = (pid: number) =>
  readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8').trim() === '-1000';

/** How many times slower than on a quiet machine a process starts here now; at least 1. */
export function slowness(): number {
  const startedMs = performance.now();
  run(process.execPath, '--eval', '0');
  return Math.max(1, (performance.now() - startedMs) / QUIET_START_MS);
}

/** kill -9, and waits until it is gone. */
export async function kill(pid: number): Promise<void> {
  process.kill(pid, 'SIGKILL');
  await until(`process ${pid} to be gone`, () => !isAlive(pid));
}

/** What attachments have left on this machine: processes, devices, folders. What another test file left does not count. */
export const remains = (): string[] => traces().filter((one) => !foreign.includes(one));

function traces(): string[] {
  const devices = readdirSync('/sys/block').filter((name) => existsSync(`/sys/block/${name}/pid`));
  const folders = existsSync(RUN_DIR) ? readdirSync(RUN_DIR) : [];
  const left = processes(/(server|supervisor)-main\.cjs/).map((one) => `${one.pid} ${one.command}`);
  return [...devices, ...folders, ...left];
}

const foreign = traces();

/** Waits until nothing of any attachment is left; what is still there makes the test fail. */
export async function nothingRemains(t: Test): Promise<void> {
  await until('everything to be gone', () => remains().length === 0, 15_000).catch(() => {});
  t.same(remains(), [], 'no process, device or folder is left');
}
