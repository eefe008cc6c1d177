/**
 * A file in memory whose writes are stable only after `sync`, and whose I/O can fail.
 *
 * `steps` is the sequence as it happened; `crashes()` are all states that a power cut after each step can leave, when of a
 * write that is not synced any prefix of 512-byte blocks may have landed.
 */

import type { HeaderFile } from '#sealdisk/luks2/file.js';

export const BLOCK_BYTES = 512;

export type Step = { kind: 'write'; offsetBytes: number; bytes: Buffer } | { kind: 'sync' };

const errno = (code: string) => Object.assign(new Error(code), { code, syscall: 'pread' });

export class MemoryFile implements HeaderFile {
  readonly steps: Step[] = [];
  readonly unreadable: { startBytes: number; endBytes: number }[] = [];
  /** Number of the write or sync that fails with EIO. */
  failingStep: number | undefined;
  private readonly before: Buffer;

  constructor(readonly bytes: Buffer) {
    this.before = Buffer.from(bytes);
  }

  async read(offsetBytes: number, sizeBytes: number): Promise<Buffer> {
    const endBytes = offsetBytes + sizeBytes;
    if (this.unreadable.some((bad) => offsetBytes < bad.endBytes && endBytes > bad.startBytes))
      throw errno('EIO');
    return Buffer.from(this.bytes.subarray(offsetBytes, endBytes));
  }

  async write(offsetBytes: number, bytes: Buffer): Promise<void> {
    this.step({ kind: 'write', offsetBytes, bytes: Buffer.from(bytes) });
    bytes.copy(this.bytes, offsetBytes);
  }

  async sync(): Promise<void> {
    this.step({ kind: 'sync' });
  }

  private step(step: Step): void {
    if (this.failingStep === this.steps.length) throw errno('EIO');
    this.steps.push(step);
  }

  /** Every state that a cut can leave, with the number of steps that were done. */
  *crashes(): Generator<{ stepsDone: number; blocksLanded: number; bytes: Buffer }> {
    const stable = Buffer.from(this.before);
    yield { stepsDone: 0, blocksLanded: 0, bytes: Buffer.from(stable) };
    for (const [index, step] of this.steps.entries()) {
      if (step.kind === 'sync') continue;
      // Each write is followed by its sync, so at most one is pending; `copies.test.ts` asserts it.
      const blocks = Math.ceil(step.bytes.length / BLOCK_BYTES);
      for (let landed = 0; landed <= blocks; landed++) {
        const bytes = Buffer.from(stable);
        step.bytes.copy(bytes, step.offsetBytes, 0, landed * BLOCK_BYTES);
        yield { stepsDone: index + 1, blocksLanded: landed, bytes };
      }
      step.bytes.copy(stable, step.offsetBytes);
    }
  }
}
