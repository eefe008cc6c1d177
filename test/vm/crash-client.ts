/**
 * A client of the transmission phase for the crash tests: many requests out, answered in any order, matched by cookie.
 * It speaks proto.md's simple replies over one end of a socket pair, and reads nothing of the server's code.
 */

import { Socket } from 'node:net';

export const COMMAND = { read: 0, write: 1, flush: 3, writeZeroes: 6 } as const;
export const FUA = 1;
const REQUEST_MAGIC = 0x25609513;
const REPLY_MAGIC = 0x67446698;
const REPLY_BYTES = 16;

interface Waiting {
  readonly readBytes: number;
  resolve(answer: { error: number; data: Buffer }): void;
  reject(error: Error): void;
}

export class NbdClient {
  readonly #socket: Socket;
  readonly #waiting = new Map<bigint, Waiting>();
  #received: Buffer = Buffer.alloc(0);
  #cookie = 0n;

  constructor(fd: number) {
    this.#socket = new Socket({ fd, readable: true, writable: true });
    this.#socket.on('data', (data) => this.#take(data));
    this.#socket.on('error', () => {});
    this.#socket.on('close', () => this.#fail('the connection ended'));
  }

  async write(offset: number, data: Buffer, fua = false): Promise<void> {
    await this.#ask(COMMAND.write, fua ? FUA : 0, offset, data.length, data);
  }

  async zero(offset: number, length: number, fua = false): Promise<void> {
    await this.#ask(COMMAND.writeZeroes, fua ? FUA : 0, offset, length);
  }

  async flush(): Promise<void> {
    await this.#ask(COMMAND.flush, 0, 0, 0);
  }

  read(offset: number, length: number): Promise<Buffer> {
    return this.#ask(COMMAND.read, 0, offset, length);
  }

  destroy(): void {
    this.#socket.destroy();
  }

  async #ask(
    command: number,
    flags: number,
    offset: number,
    length: number,
    payload?: Buffer,
  ): Promise<Buffer> {
    const cookie = this.#cookie++;
    const header = Buffer.alloc(28);
    header.writeUInt32BE(REQUEST_MAGIC, 0);
    header.writeUInt16BE(flags, 4);
    header.writeUInt16BE(command, 6);
    header.writeBigUInt64BE(cookie, 8);
    header.writeBigUInt64BE(BigInt(offset), 16);
    header.writeUInt32BE(length, 24);
    const answered = new Promise<{ error: number; data: Buffer }>((resolve, reject) => {
      this.#waiting.set(cookie, { readBytes: command === COMMAND.read ? length : 0, resolve, reject });
    });
    this.#socket.write(header);
    if (payload) this.#socket.write(payload);
    const { error, data } = await answered;
    if (error !== 0) throw new Error(`request ${command} at ${offset} of ${length} bytes: error ${error}`);
    return data;
  }

  #take(data: Buffer): void {
    this.#received = this.#received.length ? Buffer.concat([this.#received, data]) : data;
    while (this.#received.length >= REPLY_BYTES) {
      const waiting = this.#waiting.get(this.#received.readBigUInt64BE(8));
      if (this.#received.readUInt32BE(0) !== REPLY_MAGIC || !waiting) {
        this.#fail('a reply that nobody asked for');
        return;
      }
      const error = this.#received.readUInt32BE(4);
      const end = REPLY_BYTES + (error === 0 ? waiting.readBytes : 0);
      if (this.#received.length < end) return;
      this.#waiting.delete(this.#received.readBigUInt64BE(8));
      waiting.resolve({ error, data: this.#received.subarray(REPLY_BYTES, end) });
      this.#received = this.#received.subarray(end);
    }
  }

  #fail(why: string): void {
    for (const waiting of this.#waiting.values()) waiting.reject(new Error(why));
    this.#waiting.clear();
    this.#socket.destroy();
  }
}
