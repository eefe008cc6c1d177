// src/engine/engine.ts and native/addon.cc: the verbs, as the rooms above use them.

import { randomBytes } from 'node:crypto';
import { readFileSync, truncateSync } from 'node:fs';
import t from 'tap';
import { engine } from '#sealdisk/engine/engine.js';
import { CMD } from './raw-client.js';
import { connect, diskFile, eventually, OFFSET, SIZE } from './rig.js';

t.test('a data key is taken once and its source is overwritten', async (t) => {
  const source = randomBytes(64);
  const key = engine().takeDataKey(source);
  t.ok(source.every((byte) => byte === 0));
  key.wipe();
  key.wipe();
  t.throws(() => key.hmac('label', Buffer.alloc(1)), /wiped/);
  t.throws(() => engine().takeDataKey(randomBytes(63)));
});

t.test('a disk starts hung, parks, goes live, hangs and fails', async (t) => {
  const disk = engine().openDisk(diskFile(t.testdir()));
  const key = engine().takeDataKey(randomBytes(64));
  const { client, connection } = connect(disk);
  t.equal(disk.gate, 'hung');
  const data = randomBytes(100_000);
  const written = client.write(4096 * 3 + 100, data);
  await eventually(() => disk.stats().parked === 1);
  t.equal(disk.stats().inFlight, 0);

  disk.goLive(key);
  t.equal(await written, 0);
  t.ok((await client.read(4096 * 3 + 100, data.length)).equals(data));
  t.equal(disk.stats().readBytes, 100_000n);

  await disk.hang();
  t.equal(disk.gate, 'hung');
  client.send(CMD.flush);
  await eventually(() => disk.stats().parked === 1);
  await disk.fail();
  t.equal(await client.reply(), 5);

  disk.goLive(key);
  t.ok((await client.read(4096 * 3 + 100, data.length)).equals(data));
  client.send(CMD.disconnect);
  t.match(await connection.ended, { reason: 'disconnect' });
  connection.close();
  await disk.close();
  await disk.close();
  t.throws(() => disk.goLive(key), /closed/);
});

t.test('a plain disk serves what lies in its file, and goes live without a key', async (t) => {
  const options = { ...diskFile(t.testdir()), offsetBytes: 0n, plain: true };
  const disk = engine().openDisk(options);
  const { client } = connect(disk);
  t.throws(() => disk.goLive(engine().takeDataKey(randomBytes(64))), { code: 'INVALID' });
  disk.goLive();
  const data = randomBytes(10_000);
  t.equal(await client.write(5000, data), 0);
  t.ok((await client.read(5000, data.length)).equals(data));
  await disk.close();
  t.ok(readFileSync(options.path).subarray(5000, 15_000).equals(data));
  const encrypted = engine().openDisk(diskFile(t.testdir()));
  t.throws(() => encrypted.goLive(), { code: 'INVALID' });
  await encrypted.close();
});

t.test('a disk that is held parks, and a copy is of the instant when it began', async (t) => {
  const options = { ...diskFile(t.testdir()), plain: true };
  const disk = engine().openDisk(options);
  disk.goLive();
  const { client } = connect(disk);
  const before = randomBytes(1 << 20);
  t.equal(await client.write(0, before), 0);
  await disk.hold();
  const written = client.write(0, randomBytes(1 << 20));
  await eventually(() => disk.stats().parked === 1);
  const path = `${options.path}-copy`;
  const target = { path, bitmapPath: `${path}.map` };
  const copy = disk.copyTo(target);
  t.ok((await copy.begun) > 0);
  disk.release();
  t.equal(await written, 0);
  await copy.done;
  t.same(copy.progress(), { copiedBytes: BigInt(OFFSET + SIZE), totalBytes: BigInt(OFFSET + SIZE) });
  t.ok(
    readFileSync(path)
      .subarray(OFFSET, OFFSET + before.length)
      .equals(before),
  );
  t.throws(() => disk.release(), { code: 'INVALID' });
  await t.rejects(disk.copyTo(target).begun, { code: 'DISK_IO', facts: { errno: 'EEXIST' } });
  await t.rejects(disk.copyTo({ ...target, resume: true, path: `${path}-not` }).done, { code: 'DISK_IO' });
  await t.rejects(disk.cloneTo({ path }), { code: 'DISK_IO', facts: { path, errno: 'EEXIST' } });
  await disk.close();
});

t.test('a disk that is held, missing or short is refused by its own code', async (t) => {
  const options = diskFile(t.testdir());
  const disk = engine().openDisk(options);
  t.throws(() => engine().openDisk(options), { code: 'DISK_IN_USE' });
  t.throws(() => engine().openDisk({ ...options, path: `${options.path}-not` }), { code: 'DISK_NOT_FOUND' });
  await disk.close();
  truncateSync(options.path, OFFSET + 4096);
  t.throws(() => engine().openDisk(options), { code: 'DISK_TOO_SMALL' });
});

t.test('arguments of a wrong shape are refused, and nothing happens', async (t) => {
  const wrong = (options: object) => () => engine().openDisk(options as never);
  const options = diskFile(t.testdir());
  t.throws(wrong({}), { code: 'INVALID' });
  t.throws(wrong({ ...options, sizeBytes: 4096 }), { code: 'INVALID' });
  t.throws(wrong({ ...options, sizeBytes: -1n }), { code: 'INVALID' });
  t.throws(wrong({ ...options, sectorSize: 1024 }), { code: 'INVALID' });
  t.throws(wrong({ ...options, path: 'a\0b' }), { code: 'INVALID' });
  const disk = engine().openDisk(options);
  t.throws(() => disk.serve({ fd: -1, readOnly: false }), { code: 'INVALID' });
  t.throws(() => disk.goLive({} as never), { code: 'INVALID' });
  t.throws(() => disk.serve({ fd: 0, readOnly: false, rest: Buffer.alloc(1 << 20) }), { code: 'INVALID' });
  await disk.close();
});

t.test('a peer that goes away ends its connection, and close() here another', async (t) => {
  const disk = engine().openDisk(diskFile(t.testdir()));
  const gone = connect(disk);
  gone.client.destroy();
  t.match(await gone.connection.ended, { reason: 'eof' });
  const closed = connect(disk);
  closed.connection.close();
  t.match(await closed.connection.ended, { reason: 'closed' });
  closed.client.destroy();
  await disk.close();
});
