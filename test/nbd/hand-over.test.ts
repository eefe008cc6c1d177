/** The moment between handshake and transmission: no byte lost, none read twice, the connection not shut down. */

import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { type Received, rawClient, run, startRig, tempDir, zeroTransmission } from './rig.js';
import { clientFlags, disk, goData, option } from './wire.js';

const GO = Buffer.concat([clientFlags(3), option(7, goData('disk'))]);

/** Writes that the transmission answers, `count` of them of `sizeBytes`, and DISC. */
function requests(count: number, sizeBytes: number): Buffer {
  const header = (type: number, lengthBytes: number): Buffer => {
    const bytes = Buffer.alloc(28);
    bytes.writeUInt32BE(0x25609513, 0);
    bytes.writeUInt16BE(type, 6);
    bytes.writeUInt32BE(lengthBytes, 24);
    return bytes;
  };
  const writes = Array.from({ length: count }, () => [header(1, sizeBytes), randomBytes(sizeBytes)]).flat();
  return Buffer.concat([...writes, header(2, 0)]);
}

t.test('what a client sends behind GO without waiting arrives whole and in order', async (t) => {
  const received: Promise<Received>[] = [];
  const restBytes: number[] = [];
  const rig = await startRig(t, {
    transmit: (args) => {
      const transmission = zeroTransmission(args);
      received.push(transmission.received);
      restBytes.push(args.rest.length);
      return transmission;
    },
  });
  const stream = requests(16, 65536);
  for (const cut of [0, 1, GO.length - 1, GO.length, GO.length + 1, GO.length + 40]) {
    const client = await rawClient(rig.path);
    const whole = Buffer.concat([GO, stream]);
    if (cut > 0) client.socket.write(whole.subarray(0, cut));
    client.socket.write(whole.subarray(cut));
    await client.closed;
  }
  const expected = { bytes: stream.length, sha256: createHash('sha256').update(stream).digest('hex') };
  for (const one of received) t.same(await one, expected);
  t.ok(
    restBytes.some((bytes) => bytes > 0),
    'some of it was read before the hand-over',
  );
});

t.test(
  'requests that come while replies still wait are left for the transmission, which answers after them',
  async (t) => {
    const exports = Array.from({ length: 500 }, (_, i) => ({
      ...disk,
      name: `disk${i}`,
      description: 'd'.repeat(4000),
    }));
    const rig = await startRig(t, { exports: () => exports });
    const socket = connect({ path: rig.path });
    const chunks: Buffer[] = [];
    const saidBytes = (): number => chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    let late = false;
    const began = new Promise<void>((resolve) => {
      socket.on('data', (chunk: Buffer) => {
        chunks.push(chunk);
        if (late || saidBytes() <= GREETING_BYTES) return;
        late = true;
        socket.pause();
        resolve();
      });
    });
    socket.write(Buffer.concat([clientFlags(3), option(3), option(7, goData('disk7'))]));
    await began; // the server is past GO, and 2 MB of its replies do not fit the socket
    socket.write(requests(1, 512));
    const other = await rawClient(rig.path);
    other.socket.write(Buffer.concat([clientFlags(3), option(2)]));
    await other.closed; // the server has looked at its sockets since
    t.equal(rig.events.filter((event) => event.kind === 'transmitting').length, 0);
    socket.resume();
    await once(socket, 'close');
    const simpleReply = Buffer.concat(chunks).subarray(-16);
    t.equal(simpleReply.readUInt32BE(0), 0x67446698, 'the reply of the transmission is the last');
    const listBytes = 500 * (24 + 4000) + namesBytes(exports) + 20;
    t.equal(saidBytes(), GREETING_BYTES + listBytes + 20 + 12 + 20 + 16);
    await rig.event('ended');
  },
);

const GREETING_BYTES = 18;
const namesBytes = (exports: { name: string }[]): number =>
  exports.reduce((sum, one) => sum + one.name.length, 0);

t.test('a transmit that throws ends its connection, and the next one is served', async (t) => {
  let calls = 0;
  const rig = await startRig(t, {
    transmit: (args) => {
      calls += 1;
      if (calls === 1) throw new Error('no engine');
      return zeroTransmission(args);
    },
  });
  const client = await rawClient(rig.path);
  client.socket.write(GO);
  await client.closed;
  t.match(await rig.event('closed'), { error: { message: 'no engine' } });
  t.match(await run('nbdinfo', '--size', rig.uri), { code: 0 });
});

t.test(
  'the server closes its descriptor without shutdown(2), and reads no more once it has the last option',
  async (t) => {
    const dir = tempDir(t);
    const path = join(dir, 'socket');
    const log = join(dir, 'strace');
    const program = fileURLToPath(new URL('./serve-once.js', import.meta.url));
    // Without -f: the main thread does all socket calls of Node, and the transmission process is not looked at.
    const server = spawn(
      'strace',
      [
        '-o',
        log,
        '-e',
        'trace=accept4,read,recvmsg,write,writev,sendmsg,shutdown,close,epoll_ctl',
        process.execPath,
        program,
        path,
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    const done = once(server, 'exit');
    await once(server.stdout, 'data');
    t.match(await run('nbdinfo', '--size', `nbd+unix:///?socket=${path}`), { code: 0 });
    t.same(await done, [0, null]);

    const calls = readFileSync(log, 'utf8').split('\n');
    const accepted = calls.findIndex((line) => /^accept4\(.* = \d+$/.test(line));
    const fd = calls[accepted]?.match(/= (\d+)$/)?.[1];
    const ofSocket = calls.slice(accepted + 1).filter((line) => new RegExp(`^\\w+\\(${fd}[,)]`).test(line));
    const untilClose = ofSocket.slice(0, ofSocket.findIndex((line) => line.startsWith('close(')) + 1);
    // The pipes to the transmission process are shut down, too: only the socket counts.
    t.notOk(untilClose.some((line) => line.startsWith('shutdown(')));
    t.match(untilClose.at(-1), /^close/);
    t.match(untilClose.at(-2), /^write/, 'between the last reply and close there is no read');
    t.match(untilClose.at(-3), /^read\(.* = [1-9]/, 'and none between the last option and its reply');
  },
);
