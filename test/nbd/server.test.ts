/** The server around the handshake: addresses, limits, clients that go, clients that stay. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { startServer } from '#sealdisk/nbd/server.js';
import { rawClient, run, startRig, tempDir, zeroTransmission } from './rig.js';
import { clientFlags, disk, goData, option } from './wire.js';

const FIXED = clientFlags(3);
const plain = { exports: () => [disk], transmit: zeroTransmission };

t.test('a socket file is open to its owner only, and gone after close', async (t) => {
  const { server, path } = await startRig(t);
  const umask = process.umask();
  t.equal(statSync(path).mode & 0o777, 0o600);
  t.equal(process.umask(), umask);
  t.equal(server.address, path);
  await server.close();
  await server.close();
  t.notOk(existsSync(path));
});

t.test('a socket file left by a killed server is replaced', async (t) => {
  const path = join(tempDir(t), 'socket');
  const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => console.log())`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  child.kill('SIGKILL');
  await once(child, 'exit');
  t.ok(existsSync(path));
  const server = await startServer({ listen: { path }, ...plain });
  t.match(await run('nbdinfo', '--size', `nbd+unix:///?socket=${path}`), { code: 0 });
  await server.close();
});

t.test('a socket file that answers is left alone', async (t) => {
  const { path, uri } = await startRig(t);
  await t.rejects(startServer({ listen: { path }, ...plain }), {
    code: 'NBD_ADDRESS',
    facts: { address: path, errno: 'EADDRINUSE' },
  });
  t.match(await run('nbdinfo', '--size', uri), { code: 0 });
});

t.test('a file that is no socket is left alone', async (t) => {
  const path = join(tempDir(t), 'precious');
  writeFileSync(path, 'data');
  await t.rejects(startServer({ listen: { path }, ...plain }), {
    code: 'NBD_ADDRESS',
    facts: { errno: 'EADDRINUSE' },
  });
  t.equal(statSync(path).size, 4);
});

t.test('an address that cannot be had is said by errno', async (t) => {
  const dir = tempDir(t);
  const { server } = await startRig(t, { listen: { host: '127.0.0.1', port: 0 } });
  const port = Number(server.address.split(':')[1]);
  const cases: [string, { path: string } | { host: string; port: number }][] = [
    ['ENOENT', { path: join(dir, 'no', 'folder') }],
    ['ENAMETOOLONG', { path: join(dir, 'x'.repeat(108)) }],
    ['EADDRINUSE', { host: '127.0.0.1', port }],
    ['EADDRNOTAVAIL', { host: '192.0.2.1', port: 0 }],
  ];
  for (const [errno, listen] of cases) {
    await t.rejects(startServer({ listen, ...plain }), { code: 'NBD_ADDRESS', facts: { errno } }, errno);
  }
});

t.test('an IPv6 address is shown in brackets', async (t) => {
  const { server, event } = await startRig(t, { listen: { host: '::1', port: 0 } });
  t.match(server.address, /^\[::1\]:\d+$/);
  t.match(await run('nbdinfo', '--size', `nbd://${server.address}`), { code: 0 });
  t.match(await event('transmitting'), { peer: /^\[::1\]:\d+$/ });
});

t.test('garbage ends its own connection and tells what was wrong', async (t) => {
  const rig = await startRig(t);
  const client = await rawClient(rig.path);
  client.socket.write(Buffer.concat([FIXED, Buffer.from('GET / HTTP/1.1\r\n\r\n')]));
  await client.closed;
  t.match(await rig.event('closed'), { error: { code: 'NBD_PROTOCOL', facts: { what: 'option magic' } } });
  t.match(await run('nbdinfo', '--size', rig.uri), { code: 0 });
});

t.test('a client that does not finish the handshake is closed after its time', async (t) => {
  const rig = await startRig(t, { limits: { handshakeMs: 50 } });
  const client = await rawClient(rig.path);
  client.socket.write(FIXED);
  await client.closed;
  t.match(await rig.event('closed'), { error: { code: 'NBD_HANDSHAKE_TIMEOUT', facts: { timeoutMs: 50 } } });
});

t.test('a client that sends byte by byte, slowly, is served', async (t) => {
  const rig = await startRig(t);
  const client = await rawClient(rig.path);
  for (const byte of Buffer.concat([FIXED, option(3), option(7, goData('disk'))])) {
    await new Promise((resolve) => client.socket.write(Buffer.of(byte), resolve));
    await new Promise(setImmediate);
  }
  t.match(await rig.event('transmitting'), { negotiated: { exportName: 'disk' } });
  client.socket.destroy();
  await rig.event('ended');
});

t.test('a client that vanishes after each byte of a handshake leaves nothing behind', async (t) => {
  const rig = await startRig(t, { transmit: () => ({ ended: Promise.resolve(), close: () => {} }) });
  const handshake = Buffer.concat([
    FIXED,
    option(10, 'skipped'),
    option(6, goData('disk')),
    option(7, goData('disk')),
  ]);
  const clients = Array.from({ length: handshake.length + 1 }, async (_, sentBytes) => {
    const socket = connect({ path: rig.path });
    socket.on('error', () => {}); // a reset is one of the ways to vanish
    await once(socket, 'connect');
    socket.write(handshake.subarray(0, sentBytes), () => socket.destroy());
  });
  await Promise.all(clients);
  await Promise.all([rig.event('connected', clients.length), rig.event('closed', handshake.length)]);
  t.match(await run('nbdinfo', '--list', '--no-content', rig.uri), { code: 0 });
  await rig.server.close();
});

t.test('a thousand half-open handshakes stand beside a client that is served', async (t) => {
  const rig = await startRig(t, { limits: { connectionsMax: 1010 } });
  const clients: Awaited<ReturnType<typeof rawClient>>[] = [];
  while (clients.length < 1000) {
    // A hundred at a time: the kernel refuses connections beyond the backlog.
    clients.push(...(await Promise.all(Array.from({ length: 100 }, () => rawClient(rig.path)))));
    await rig.event('connected', clients.length);
  }
  for (const client of clients) client.socket.write(Buffer.concat([FIXED, option(3).subarray(0, 9)]));
  t.match(await run('nbdinfo', '--size', rig.uri), { code: 0 });
  await rig.server.close();
  await Promise.all(clients.map((client) => client.closed));
  t.equal(rig.events.filter((event) => event.kind === 'refused').length, 0);
});

t.test(
  'a connection over the limit is closed at once, one in transmission counts, and its end makes room',
  async (t) => {
    const rig = await startRig(t, { limits: { connectionsMax: 1 } });
    const first = await rawClient(rig.path);
    first.socket.write(Buffer.concat([FIXED, option(7, goData('disk'))]));
    await rig.event('transmitting');
    const second = await rawClient(rig.path);
    await second.closed;
    t.equal(second.said().length, 0);
    t.match(await rig.event('refused'), { connections: 1 });
    first.socket.destroy();
    await rig.event('ended');
    t.match(await run('nbdinfo', '--size', rig.uri), { code: 0 });
  },
);

t.test('a client that asks on without reading is closed', async (t) => {
  const exports = Array.from({ length: 300 }, (_, i) => ({
    ...disk,
    name: `${i}`,
    description: 'd'.repeat(4000),
  }));
  const rig = await startRig(t, { exports: () => exports });
  const { socket } = await rawClient(rig.path);
  socket.pause();
  const ask = (): boolean => socket.write(option(3));
  socket.write(FIXED);
  const asking = setInterval(ask, 1);
  const closed = await rig.event('closed').finally(() => clearInterval(asking));
  t.match(closed, { error: { facts: { what: 'unread replies' } } });
  socket.destroy();
});

t.test('a client that stops reading after its last words is closed after its time', async (t) => {
  const exports = Array.from({ length: 300 }, (_, i) => ({
    ...disk,
    name: `${i}`,
    description: 'd'.repeat(4000),
  }));
  const rig = await startRig(t, { exports: () => exports, limits: { handshakeMs: 300 } });
  const { socket } = await rawClient(rig.path);
  socket.pause();
  socket.write(Buffer.concat([FIXED, option(3), option(2)]));
  t.match(await rig.event('closed'), { peer: 'unix' });
  socket.destroy();
});

t.test('close ends handshakes and transmissions, and waits for these', async (t) => {
  let ended = false;
  const rig = await startRig(t, {
    transmit: (args) => {
      const transmission = zeroTransmission(args);
      const settled = transmission.ended.then(() => {
        ended = true;
      });
      return { ended: settled, close: transmission.close };
    },
  });
  const transmitting = await rawClient(rig.path);
  transmitting.socket.write(Buffer.concat([FIXED, option(7, goData('disk'))]));
  const halfOpen = await rawClient(rig.path);
  await rig.event('transmitting');
  await rig.server.close();
  t.ok(ended);
  await Promise.all([transmitting.closed, halfOpen.closed]);
});

t.test('exports that throw or break a rule end the connection, not the process', async (t) => {
  let answers = 0;
  const rig = await startRig(t, {
    exports: () => {
      answers += 1;
      if (answers === 2) throw new Error('no disk now');
      return answers === 3 ? [{ ...disk, preferredBlockSize: 7 }] : [disk];
    },
  });
  for (const [nth, error] of [
    [1, { message: 'no disk now' }],
    [2, { code: 'INTERNAL' }],
  ] as const) {
    const client = await rawClient(rig.path);
    await client.closed;
    t.match(await rig.event('closed', nth), { error });
  }
  t.match(await run('nbdinfo', '--size', rig.uri), { code: 0 });
});
