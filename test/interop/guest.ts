/**
 * A QEMU guest (emulated, no KVM) whose only disk is an NBD export; its serial line takes shell lines. See scripts/qemu-guest.
 *
 * Kept true: the guest has ended when the test has; an answer that does not come is an error with all that the guest said.
 */

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Test } from 'tap';

const DEADLINE_MS = 120_000;
export const MACHINE = [
  '-M',
  'q35',
  '-accel',
  'tcg',
  '-cpu',
  'max',
  '-m',
  '256',
  '-nodefaults',
  '-no-reboot',
];
export const CONSOLE = ['-display', 'none', '-monitor', 'none', '-serial', 'stdio'];
const KERNEL = ['-kernel', 'build/qemu-guest/vmlinuz', '-initrd', 'build/qemu-guest/initramfs'];
const COMMAND_LINE = ['-append', 'console=ttyS0 quiet panic=-1'];

export interface Answer {
  readonly code: number;
  readonly out: string;
}

export class Guest {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #ended: Promise<unknown[]>;
  #said = '';
  /** How much of what it said belongs to answers already given. */
  #taken = 0;

  /** Starts the machine; `uri` is what QEMU opens as the disk. */
  constructor(t: Test, uri: string) {
    const disk = [
      ...['-drive', `file=${uri},format=raw,if=none,id=disk,cache=none,discard=unmap`],
      ...['-device', 'virtio-blk-pci,drive=disk'],
    ];
    this.#child = spawn('qemu-system-x86_64', [...MACHINE, ...CONSOLE, ...KERNEL, ...COMMAND_LINE, ...disk]);
    this.#ended = once(this.#child, 'close');
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.setEncoding('latin1').on('data', (text: string) => {
        this.#said += text;
        this.#child.emit('said');
      });
    }
    t.teardown(async () => {
      this.#child.kill('SIGKILL');
      await this.#ended;
    });
  }

  /** The answer that comes next. The first one, before any line was sent, is that the guest is ready. */
  async answer(): Promise<Answer> {
    const signal = AbortSignal.timeout(DEADLINE_MS);
    for (;;) {
      const found = /@@end (\d+)\r?\n/.exec(this.#said.slice(this.#taken));
      if (found) {
        const out = this.#said.slice(this.#taken, this.#taken + found.index);
        this.#taken += found.index + found[0].length;
        return { code: Number(found[1]), out };
      }
      if (this.#child.exitCode !== null || this.#child.signalCode !== null)
        throw new Error(`the guest ended: ${this.#said}`);
      await Promise.race([once(this.#child, 'said', { signal }), this.#ended]).catch((cause) => {
        throw new Error(`no answer within ${DEADLINE_MS} ms: ${this.#said}`, { cause });
      });
    }
  }

  /** Runs one shell line; what it printed. Fails unless it ends with 0. */
  async run(line: string): Promise<string> {
    this.#child.stdin.write(`${line}\n`);
    const { code, out } = await this.answer();
    if (code !== 0) throw new Error(`${line}: ${code}: ${out}`);
    return out.trim();
  }

  /** Turns it off; the exit code of QEMU. */
  async powerOff(): Promise<unknown> {
    this.#child.stdin.write('poweroff -f\n');
    const [code] = await this.#ended;
    return code;
  }
}
