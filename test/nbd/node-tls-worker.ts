/**
 * The thread behind NodeTlsPeer: node:tls over a Duplex in memory. Each message is one call; the answer follows when TLS has
 * nothing more to say, which it has when the event loop turned three times without a sign of it.
 */

import { Duplex } from 'node:stream';
import { createServer, type TLSSocket } from 'node:tls';
import { type MessagePort, workerData } from 'node:worker_threads';

const { port, done, options } = workerData as {
  port: MessagePort;
  done: Int32Array;
  options: Record<string, unknown>;
};

let [plaintext, output]: [Uint8Array[], Uint8Array[]] = [[], []];
let [signs, closed]: [number, boolean] = [0, false];
let socket: TLSSocket | undefined;
let error: string | undefined;

const wire = new Duplex({
  read() {},
  write(chunk: Buffer, _encoding, written) {
    signs += 1;
    output.push(chunk);
    written();
  },
});
const failed = (why: Error): void => {
  signs += 1;
  error = why.message;
};

const server = createServer({ ...options, allowHalfOpen: true } as never, (secured) => {
  signs += 1;
  socket = secured;
  secured.on('data', (chunk: Buffer) => {
    signs += 1;
    plaintext.push(chunk);
  });
  secured.on('end', () => {
    signs += 1;
    closed = true;
  });
  secured.on('error', failed);
});
server.on('tlsClientError', failed);
server.emit('connection', wire);

async function settled(): Promise<void> {
  for (let quiet = 0; quiet < 3; ) {
    const before = signs;
    await new Promise((resolve) => setImmediate(resolve));
    quiet = signs === before ? quiet + 1 : 0;
  }
}

port.on('message', async ({ verb, bytes }: { verb: 'feed' | 'write'; bytes: Uint8Array }) => {
  if (verb === 'feed') wire.push(bytes);
  else socket?.write(bytes);
  await settled();
  port.postMessage({
    plaintext: Buffer.concat(plaintext),
    output: Buffer.concat(output),
    established: socket !== undefined,
    closed,
    error,
    clientName: socket?.authorized ? socket.getPeerCertificate().subject?.CN : undefined,
  });
  [plaintext, output] = [[], []];
  Atomics.store(done, 0, 1);
  Atomics.notify(done, 0);
});
