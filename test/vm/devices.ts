/**
 * Block devices that fail on demand: a loop device on scratch, and a device-mapper device above it whose table the test
 * exchanges (Documentation/admin-guide/device-mapper of the kernel).
 *
 * Kept true: what was made is taken away when its test ends, last first, also when the test failed.
 */

import { spawnSync } from 'node:child_process';
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import type { Test } from 'tap';
import { run } from './rig.js';

export const MIB = 1 << 20;
const SECTOR_BYTES = 512;
const scratch = process.env.VM_SCRATCH ?? '';
let made = 0;

/** A loop device of zeros. */
export function loopDevice(t: Test, sizeBytes: number): string {
  const file = `${scratch}/loop-${process.pid}-${made++}.img`;
  writeFileSync(file, '');
  truncateSync(file, sizeBytes);
  const device = run('losetup', '--find', '--show', file).trim();
  t.teardown(() => spawnSync('losetup', ['--detach', device]));
  t.teardown(() => truncateSync(file, 0));
  return device;
}

/** Mounts for the length of the test; where. */
export function mounted(t: Test, device: string, ...options: string[]): string {
  const dir = `/run/faults-${process.pid}-${made++}`;
  mkdirSync(dir);
  run('mount', ...options, device, dir);
  t.teardown(() => spawnSync('umount', ['--lazy', dir]));
  return dir;
}

/** The kernel forgets what it has read or stored of the file or device; what it has yet to write it keeps. */
export function forgetCached(path: string): void {
  run('dd', `if=${path}`, 'iflag=nocache', 'count=0', 'status=none');
}

/** A device-mapper device of one target. */
export class MappedDevice {
  readonly path: string;
  readonly #name: string;
  readonly #sectors: number;

  /** `target` is a table line without its range: 'linear /dev/loop0 0'. */
  constructor(t: Test, sizeBytes: number, target: string) {
    this.#name = `faulty-${process.pid}-${made++}`;
    this.#sectors = sizeBytes / SECTOR_BYTES;
    this.path = `/dev/mapper/${this.#name}`;
    run('dmsetup', 'create', this.#name, '--table', this.#line(target));
    t.teardown(() => this.remove());
  }

  /** From now on, and for what waits: another target. */
  become(target: string): void {
    run('dmsetup', 'reload', this.#name, '--table', this.#line(target));
    this.release();
  }

  /** Keeps from now on what is asked of it, until it is released. */
  hold(): void {
    run('dmsetup', 'suspend', '--noflush', '--nolockfs', this.#name);
  }

  /** Twice is fine. */
  release(): void {
    run('dmsetup', 'resume', '--noflush', '--nolockfs', this.#name);
  }

  /** Tells the target something. */
  message(...words: string[]): void {
    run('dmsetup', 'message', this.#name, '0', ...words);
  }

  /** Twice is fine. */
  remove(): void {
    spawnSync('dmsetup', ['remove', '--retry', this.#name]);
  }

  #line(target: string): string {
    return `0 ${this.#sectors} ${target}`;
  }
}
