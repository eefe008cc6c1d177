/**
 * Debian's nbd-client and a `sealdisk serve` for it.
 *
 * Kept true: the server and the connection end with the test, whatever becomes of it.
 */

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Test } from 'tap';
import type { CreatedDisk } from '#sealdisk/disk/create.js';
import { run, until } from './rig.js';

export interface Server {
  readonly pid: number;
  /** Where nbd-client finds it. */
  readonly address: string[];
  /** SIGTERM; its exit code. */
  stop(): Promise<unknown>;
}

/** Serves the disk on a unix socket, or on TCP; `options` are those of `sealdisk serve`. */
export async function serve(
  t: Test,
  disk: CreatedDisk,
  over: 'unix' | 'tcp',
  ...options: string[]
): Promise<Server> {
  const socket = `/run/${disk.uuid}.sock`;
  const where = over === 'unix' ? ['--socket', socket] : ['--listen', '127.0.0.1:0'];
  const child = spawn(
    process.execPath,
    ['dist/bin/sealdisk.cjs', 'serve', disk.path, '--log-level', 'warn', ...where, ...options],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  const ended = once(child, 'exit');
  t.teardown(() => child.kill('SIGKILL'));
  const [uri] = await Promise.race([
    once(createInterface({ input: child.stdout }), 'line'),
    ended.then(([code]) => Promise.reject(new Error(`serve ended with ${code}`))),
  ]);
  return {
    pid: child.pid as number,
    address: over === 'unix' ? ['-unix', socket] : ['127.0.0.1', new URL(uri).port],
    stop: async () => {
      child.kill('SIGTERM');
      const [code] = await ended;
      return code;
    },
  };
}

/** True while the kernel has a connection for the device. */
export const isConnected = (device: string) => existsSync(`/sys/block/${device.slice('/dev/'.length)}/pid`);

/** Connects the device; `options` are nbd-client's. */
export async function connect(t: Test, server: Server, device: string, ...options: string[]): Promise<void> {
  t.teardown(() => isConnected(device) && spawnSync('nbd-client', ['-d', device]));
  run('nbd-client', ...server.address, device, ...options);
  await until(`${device} to be connected`, () => isConnected(device) && sizeBytes(device) > 0n);
}

export async function disconnect(device: string, ...options: string[]): Promise<void> {
  run('nbd-client', ...options, '-d', device);
  await until(`${device} to be disconnected`, () => !isConnected(device));
}

/** As sysfs tells it, without opening the device. */
export const sizeBytes = (device: string) =>
  BigInt(readFileSync(`/sys/block/${device.slice('/dev/'.length)}/size`, 'utf8').trim()) * 512n;

/** How many sockets a process has. */
export const sockets = (pid: number) =>
  readdirSync(`/proc/${pid}/fd`).filter((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith('socket:');
    } catch {
      return false; // It was closed while it was looked at.
    }
  }).length;

/** Requests of the kernel's nbd driver, <linux/nbd.h>. */
export const NBD_CLEAR_SOCK = 0xab04;
export const NBD_SET_SIZE = 0xab02;

const IOCTL_PROGRAM = `
import fcntl, os, sys
device, request, argument = sys.argv[1:]
fcntl.ioctl(os.open(device, os.O_RDWR), int(request), int(argument))`;

/** One ioctl, by a process of its own. */
export const ioctl = (device: string, request: number, argument: bigint): string =>
  run('/usr/bin/python3', '-c', IOCTL_PROGRAM, device, `${request}`, `${argument}`);
