/**
 * A transmission phase for tests, as a process of its own: the socket is its descriptor 3, what was already read comes
 * on stdin. Reads as zeroes, takes writes, ends at NBD_CMD_DISC or the end of input, then says on stdout what came in. With
 * arguments it answers reads in structured chunks, and block status, for the context ids that they are, with "data".
 */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Socket } from 'node:net';

const HEADER_BYTES = 28;
const [READ, WRITE, DISC, BLOCK_STATUS] = [0, 1, 2, 7];
const [structured, ...contextIds] = process.argv.slice(2);
const digest = createHash('sha256');
let receivedBytes = 0;
let held = Buffer.alloc(0);
const socket = new Socket({ fd: 3 });

function finish(): void {
  process.stdout.write(`${receivedBytes} ${digest.digest('hex')}\n`, () => process.exit(0));
}

/** A structured reply chunk to the request in `held`. */
function replyChunk(type: number, last: boolean, payload: Buffer[]): Buffer {
  const head = Buffer.alloc(20);
  head.writeUInt32BE(0x668e33ef, 0);
  head.writeUInt16BE(last ? 1 : 0, 4);
  head.writeUInt16BE(type, 6);
  held.copy(head, 8, 8, 16);
  head.writeUInt32BE(
    payload.reduce((sum, part) => sum + part.length, 0),
    16,
  );
  return Buffer.concat([head, ...payload]);
}

function take(chunk: Buffer): void {
  receivedBytes += chunk.length;
  digest.update(chunk);
  held = Buffer.concat([held, chunk]);
  while (held.length >= HEADER_BYTES) {
    const type = held.readUInt16BE(6);
    const lengthBytes = held.readUInt32BE(24);
    const wholeBytes = HEADER_BYTES + (type === WRITE ? lengthBytes : 0);
    if (held.length < wholeBytes) return;
    if (type === DISC) {
      finish();
      return;
    }
    if (structured && type === READ) {
      socket.write(replyChunk(1, true, [held.subarray(16, 24), Buffer.alloc(lengthBytes)]));
    } else if (type === BLOCK_STATUS) {
      contextIds.forEach((id, i) => {
        const extent = Uint32Array.of(Number(id), lengthBytes, 0);
        socket.write(replyChunk(5, i === contextIds.length - 1, [Buffer.from(extent.buffer).swap32()]));
      });
    } else {
      const reply = Buffer.alloc(16 + (type === READ ? lengthBytes : 0));
      reply.writeUInt32BE(0x67446698, 0);
      held.copy(reply, 8, 8, 16);
      socket.write(reply);
    }
    held = held.subarray(wholeBytes);
  }
}

take(readFileSync(0));
socket.on('data', take);
socket.on('end', finish);
socket.on('error', finish);
