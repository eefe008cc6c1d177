/**
 * /dev/nbdN as the kernel tells of it in sysfs and /proc: looked at, never opened, for an open can hang on a hung disk.
 *
 * Configuration itself goes by generic netlink (native/netlink). Facts of Linux 6.1: `pid` is there while the device is
 * configured; `backend` is the identifier given at connect; RECONFIGURE needs the old socket to be dead.
 */

import { existsSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fail } from '../errors.js';

/** Unanswered requests of a dead server are sent again when this timer fires, and it logs a line for each meanwhile. */
const LIVE_IO_TIMEOUT_MS = 2_000;
/** While the disk hangs nothing is to be sent again: only the log lines count. */
const HUNG_IO_TIMEOUT_MS = 30_000;
/** How long a server may be gone before its requests fail. */
export const DEAD_CONNECTION_TIMEOUT_S = 86_400;

export const devicePath = (index: number) => `/dev/nbd${index}`;
const sysfs = (index: number, name: string) => `/sys/block/nbd${index}/${name}`;

/** N of "/dev/nbdN"; undefined for another path. */
export function indexOf(device: string): number | undefined {
  const match = /^\/dev\/nbd(\d{1,4})$/.exec(device);
  return match ? Number(match[1]) : undefined;
}

function attribute(index: number, name: string): string | undefined {
  try {
    return readFileSync(sysfs(index, name), 'utf8').trim();
  } catch {
    return undefined;
  }
}

export const isConfigured = (index: number) => existsSync(sysfs(index, 'pid'));

/** The identifier that the device was connected with: of a device of ours, the disk's UUID. */
export const ownerOf = (index: number) => (isConfigured(index) ? attribute(index, 'backend') : undefined);

/** The device that was connected for the disk `uuid` and is still configured, its server alive or not. */
export function findDevice(uuid: string): number | undefined {
  if (!existsSync('/sys/block')) return undefined;
  for (const name of readdirSync('/sys/block')) {
    const index = indexOf(`/dev/${name}`);
    if (index !== undefined && ownerOf(index) === uuid) return index;
  }
  return undefined;
}

/** Waits until the device has its size and its node; ATTACH_TIMEOUT. */
export async function waitUsable(index: number, sizeBytes: bigint, timeoutMs: number): Promise<void> {
  const endsMs = performance.now() + timeoutMs;
  const sectors = (sizeBytes / 512n).toString();
  while (attribute(index, 'size') !== sectors || !existsSync(devicePath(index))) {
    if (performance.now() >= endsMs)
      fail('ATTACH_TIMEOUT', { what: `${devicePath(index)} to be usable`, timeoutMs });
    await delay(10);
  }
}

/** Sets how soon the kernel looks again at a request that is not answered. */
export function setIoTimeout(index: number, gate: 'live' | 'hung' | 'failed'): void {
  const timeoutMs = gate === 'hung' ? HUNG_IO_TIMEOUT_MS : LIVE_IO_TIMEOUT_MS;
  writeFileSync(sysfs(index, 'queue/io_timeout'), `${timeoutMs}`);
}

/** Who uses the device, as words for the operator; undefined when nobody does. */
export function userOf(index: number): string | undefined {
  const device = devicePath(index);
  const [holder] = existsSync(sysfs(index, 'holders')) ? readdirSync(sysfs(index, 'holders')) : [];
  if (holder) return `held by ${holder}`;
  const [mountPoint] = mountsOf(index);
  if (mountPoint !== undefined) return `mounted on ${mountPoint}`;
  if (new RegExp(`^${device}(p\\d+)? `, 'm').test(readFileSync('/proc/swaps', 'utf8')))
    return 'in use as swap';
  const pid = openerOf(index);
  return pid === undefined ? undefined : `open in process ${pid}`;
}

/** Where it, or a partition of it, is mounted. Source: proc(5), /proc/pid/mountinfo. */
export function mountsOf(index: number): string[] {
  const device = devicePath(index);
  const numbers = [attribute(index, 'dev'), ...partitionsOf(index)];
  const lines = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' '));
  return lines
    .filter((fields) => numbers.includes(fields[2]) || fields.includes(device))
    .map((fields) =>
      (fields[4] ?? '').replace(/\\([0-7]{3})/g, (_, code) => String.fromCharCode(Number.parseInt(code, 8))),
    );
}

function partitionsOf(index: number): (string | undefined)[] {
  return readdirSync(sysfs(index, ''))
    .filter((name) => name.startsWith(`nbd${index}p`))
    .map((name) => attribute(index, `${name}/dev`));
}

function openerOf(index: number): number | undefined {
  const name = basename(devicePath(index));
  const isDevice = new RegExp(`^/dev/${name}(p\\d+)?$`);
  for (const pid of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      for (const fd of readdirSync(`/proc/${pid}/fd`)) {
        if (isDevice.test(readlinkSync(`/proc/${pid}/fd/${fd}`))) return Number(pid);
      }
    } catch {
      // The process or the descriptor is gone, or is not ours to see.
    }
  }
  return undefined;
}

/** True where /sys shows an nbd driver. */
export const hasNbdDriver = () =>
  existsSync('/sys/module/nbd') || statSync('/dev/nbd0', { throwIfNoEntry: false });
