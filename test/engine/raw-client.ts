/**
 * A client of the transmission phase for tests: requests out, replies in, one at a time or many at once.
 * It speaks proto.md's simple replies over one end of a socket pair.
 */

import { Socket } from 'node:net';

export const CMD = { read: 0, write: 1, disconnect: 2, flush: 3, trim: 4, writeZeroes: 6 } as const;

export class RawClient {
  readonly #socket: Socket;
  #received = Buffer.alloc(0);
  #waiting: { bytes: number; resolve: (data: Buffer) => void } | undefined;

  /** Over a descriptor, or inside what is given (TLS). */
  constructor(over: number | Socket) {
    this.#socket = typeof over === 'number' ? new Socket({ fd: over }) : over;
    this.#socket.on('data', (data) => {
      this.#received = Buffer.concat([this.#received, data]);
      this.#deliver();
    });
    this.#socket.on('error', () => {});
  }

  send(command: number, offset = 0, length = 0, payload?: Buffer): void {
    const header = Buffer.alloc(28);
    header.writeUInt32BE(0x25609513, 0);
    header.writeUInt16BE(command, 6);
    header.writeBigUInt64BE(1n, 8);
    header.writeBigUInt64BE(BigInt(offset), 16);
    header.writeUInt32BE(length, 24);
    this.#socket.write(payload ? Buffer.concat([header, payload]) : header);
  }

  /** The error number of the next reply. */
  async reply(): Promise<number> {
    return (await this.receive(16)).readUInt32BE(4);
  }

  receive(bytes: number): Promise<Buffer> {
    return new Promise((resolve) => {
      this.#waiting = { bytes, resolve };
      this.#deliver();
    });
  }

  async write(offset: number, data: Buffer): Promise<number> {
    this.send(CMD.write, offset, data.length, data);
    return this.reply();
  }

  async read(offset: number, length: number): Promise<Buffer> {
    this.send(CMD.read, offset, length);
    const error = await this.reply();
    if (error !== 0) throw new Error(`read failed with ${error}`);
    return this.receive(length);
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #deliver(): void {
    const waiting = this.#waiting;
    if (!waiting || this.#received.length < waiting.bytes) return;
    this.#waiting = undefined;
    const data = this.#received.subarray(0, waiting.bytes);
    this.#received = this.#received.subarray(waiting.bytes);
    waiting.resolve(data);
  }
}
