/**
 * One connection to an NBD server, and what a probe can learn of it. Numbers and names are those of proto.md and stand
 * here on their own: nothing of src/nbd, so that a mistake there cannot cancel itself out.
 *
 * Kept true: every wait ends, in what was asked for, in `Closed`, or in `Silent` after DEADLINE_MS.
 */

import { once } from 'node:events';
import type { Duplex } from 'node:stream';

const DEADLINE_MS = 5_000;

/** The server ended the connection before it said what was waited for. */
export class Closed extends Error {}
/** The server neither answered nor closed. */
export class Silent extends Error {}
/** The server said no, with a name of the specification. */
export class Refused extends Error {}
/** The server did what the specification forbids. */
export class Wrong extends Error {}

export const NO_ERROR = 0;
const ERRORS = new Map([
  [1, 'EPERM'],
  [5, 'EIO'],
  [12, 'ENOMEM'],
  [22, 'EINVAL'],
  [28, 'ENOSPC'],
  [75, 'EOVERFLOW'],
  [95, 'ENOTSUP'],
  [108, 'ESHUTDOWN'],
]);
export const errorName = (error: number): string => ERRORS.get(error) ?? `the unknown error ${error}`;

const REFUSALS = [
  'UNSUP',
  'POLICY',
  'INVALID',
  'PLATFORM',
  'TLS_REQD',
  'UNKNOWN',
  'SHUTDOWN',
  'BLOCK_SIZE_REQD',
  'TOO_BIG',
  'EXT_HEADER_REQD',
];
export const ERROR_BIT = 0x8000_0000;
export const refusalName = (type: number): string =>
  `ERR_${REFUSALS[type - ERROR_BIT - 1] ?? type.toString(16)}`;

export function be(bits: 16 | 32 | 64, value: number | bigint): Buffer {
  const bytes = Buffer.alloc(bits / 8);
  if (bits === 16) bytes.writeUInt16BE(Number(value));
  else if (bits === 32) bytes.writeUInt32BE(Number(value));
  else bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

export class Peer {
  #chunks: Buffer[] = [];
  #bytes = 0;
  #ended = false;
  #wake: () => void = () => {};

  constructor(readonly stream: Duplex) {
    stream.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#bytes += chunk.length;
      this.#wake();
    });
    for (const event of ['end', 'close', 'error']) {
      stream.on(event, () => {
        this.#ended = true;
        this.#wake();
      });
    }
  }

  send(...parts: Uint8Array[]): void {
    if (!this.stream.writableEnded) this.stream.write(Buffer.concat(parts));
  }

  async take(count: number): Promise<Buffer> {
    await this.#until(() => this.#bytes >= count || this.#ended);
    if (this.#bytes < count) throw new Closed();
    const all = Buffer.concat(this.#chunks);
    this.#chunks = [all.subarray(count)];
    this.#bytes -= count;
    return all.subarray(0, count);
  }

  async u16(): Promise<number> {
    return (await this.take(2)).readUInt16BE();
  }

  async u32(): Promise<number> {
    return (await this.take(4)).readUInt32BE();
  }

  async u64(): Promise<bigint> {
    return (await this.take(8)).readBigUInt64BE();
  }

  /** Everything until the server closes. */
  async rest(): Promise<Buffer> {
    await this.#until(() => this.#ended);
    return Buffer.concat(this.#chunks);
  }

  /** Hands the socket over, to TLS. */
  release(): Duplex {
    for (const event of ['data', 'end', 'close', 'error']) this.stream.removeAllListeners(event);
    this.stream.pause();
    return this.stream;
  }

  async close(): Promise<void> {
    if (this.stream.destroyed) return;
    const closed = once(this.stream, 'close');
    this.stream.destroy();
    await closed;
  }

  async #until(condition: () => boolean): Promise<void> {
    if (condition()) return;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Silent()), DEADLINE_MS);
      this.#wake = () => {
        if (!condition()) return;
        clearTimeout(timer);
        this.#wake = () => {};
        resolve();
      };
    });
  }
}
