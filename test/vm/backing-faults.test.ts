/**
 * What lies under a disk fails, in each way in which the kernel can make it fail: libnbd sees the right errno and never
 * wrong data, the server lives on, a FLUSH that lost data says so until the disk is opened again, and what was only a
 * lack of room is over when there is room.
 */

import { statSync, truncateSync } from 'node:fs';
import t, { type Test } from 'tap';
import { forgetCached, loopDevice, MappedDevice, MIB, mounted } from './devices.js';
import { NbdShell, served } from './nbdsh.js';
import { newDisk, run } from './rig.js';
import { serveHere } from './serve-here.js';

t.setTimeout(500_000);

const DATA_BYTES = 8 * MIB;
const HEADER_BYTES = 16 * MIB;
const FILE_BYTES = HEADER_BYTES + DATA_BYTES;
const ROOMY_BYTES = 2 * FILE_BYTES;
/** Longer than what the engine copies at once to the page cache: it goes to io_uring. */
const LONG = 256 * 1024;
/** Exit code of a server whose disk could not store what it took. */
const LOST = 9;
const AT = { a: 0, b: MIB, c: 2 * MIB };

/** A disk whose blocks are those of `device`. */
async function diskOn(device: MappedDevice): Promise<string> {
  const disk = await newDisk(4096, BigInt(DATA_BYTES));
  run('dd', `if=${disk.path}`, `of=${device.path}`, 'bs=1M', 'conv=fsync', 'status=none');
  return device.path;
}

const fileOn = async (dir: string) => (await newDisk(4096, BigInt(DATA_BYTES), dir)).path;

const nbd = new NbdShell(t);

async function serving(t: Test, path: string, direct = false) {
  const server = await serveHere(t, path, direct);
  await nbd.connect(server.uri);
  return server;
}

/** A disk opened anew: what is stable is there, and it stores again. */
async function worksAgain(t: Test, path: string, stable: Record<number, RegExp>): Promise<void> {
  forgetCached(path);
  const server = await serving(t, path);
  for (const [offset, data] of Object.entries(stable)) {
    t.match(await nbd.read(Number(offset), LONG), data, `after opening again, at ${offset}`);
  }
  t.equal(await nbd.writeFua(AT.c, LONG, 'z'), 'ok');
  t.equal(await server.stop(), true);
}

for (const io of ['ring', 'pool']) {
  t.test(
    `a device that fails (dm-error), through the ${io}: EIO, and FLUSH fails until opened again`,
    async (t) => {
      const loop = loopDevice(t, FILE_BYTES);
      const good = `linear ${loop} 0`;
      const device = new MappedDevice(t, FILE_BYTES, good);
      const path = await diskOn(device);
      const server = await served(t, path, [], { SEALDISK_IO: io });
      await nbd.connect(server.uri);
      t.equal(await nbd.write(AT.a, LONG, 'a'), 'ok');
      t.equal(await nbd.flush(), 'ok');
      t.equal(await nbd.write(AT.b, LONG, 'b'), 'ok');

      device.become('error');
      t.equal(await nbd.flush(), 'EIO', 'what was written since is lost, and the first FLUSH says so');
      forgetCached(path);
      t.equal(await nbd.read(AT.a, LONG), 'EIO');
      t.equal(await nbd.write(AT.a + 1, 100, 'x'), 'EIO', 'a write that has to read first');

      device.become(good);
      t.equal(await nbd.read(AT.a, LONG), 'a', 'reads are well again');
      t.equal(await nbd.flush(), 'EIO', 'the next FLUSH must not cover up what the first has lost');
      t.equal(await nbd.writeFua(AT.c, 4096, 'c'), 'EIO', 'nor FUA');
      t.equal(await server.stop(), LOST, 'and the end of the server says so');
      await worksAgain(t, path, { [AT.a]: /^a$/, [AT.b]: /^(b|mixed)$/ });
    },
  );
}

t.test(
  'a device that fails writes (dm-flakey error_writes), with --direct: each write says so',
  async (t) => {
    const loop = loopDevice(t, FILE_BYTES);
    const good = `linear ${loop} 0`;
    const device = new MappedDevice(t, FILE_BYTES, good);
    const path = await diskOn(device);
    const server = await serving(t, path, true);
    t.equal(await nbd.writeFua(AT.a, LONG, 'a'), 'ok');

    device.become(`flakey ${loop} 0 0 3600 1 error_writes`);
    t.equal(await nbd.write(AT.a, LONG, 'b'), 'EIO');
    t.equal(await nbd.writeFua(AT.b, 4096, 'b'), 'EIO');
    t.equal(await nbd.zero(AT.b, MIB), 'EIO');
    t.equal(await nbd.read(AT.a, LONG), 'a', 'what was there is there');

    device.become(good);
    t.equal(await nbd.flush(), 'ok', 'no acknowledged write is lost, and FLUSH knows it');
    t.equal(await nbd.writeFua(AT.a, LONG, 'c'), 'ok', 'what was refused is written now');
    t.equal(await server.stop(), true);
    await worksAgain(t, path, { [AT.a]: /^c$/ });
  },
);

t.test('a device that lies (dm-flakey drop_writes): old data, whole, and never noise', async (t) => {
  const loop = loopDevice(t, FILE_BYTES);
  const device = new MappedDevice(t, FILE_BYTES, `linear ${loop} 0`);
  const path = await diskOn(device);
  const server = await serving(t, path);
  t.equal(await nbd.writeFua(AT.a, LONG, 'a'), 'ok');
  device.become(`flakey ${loop} 0 0 3600 1 drop_writes`);
  t.equal(await nbd.writeFua(AT.a, LONG, 'b'), 'ok', 'nobody can tell: the device said that it is stored');
  forgetCached(path);
  t.equal(await nbd.read(AT.a, LONG), 'a');
  await server.stop();
  device.become(`linear ${loop} 0`);
  await worksAgain(t, path, { [AT.a]: /^a$/ });
});

t.test('bad blocks (dm-dust): EIO for what lies on them alone, until they are written', async (t) => {
  const loop = loopDevice(t, FILE_BYTES);
  const device = new MappedDevice(t, FILE_BYTES, `dust ${loop} 0 4096`);
  const path = await diskOn(device);
  const server = await serving(t, path, true);
  t.equal(await nbd.writeFua(AT.a, LONG, 'a'), 'ok');
  const bad = 8 * 4096;
  device.message('addbadblock', `${(HEADER_BYTES + bad) / 4096}`);
  device.message('enable');
  t.equal(await nbd.read(AT.a, LONG), 'EIO', 'a read across it');
  t.equal(await nbd.read(AT.a, bad), 'a', 'up to it');
  t.equal(await nbd.read(bad + 4096, LONG - bad - 4096), 'a', 'and after it');
  t.equal(await nbd.write(bad + 1, 10, 'x'), 'EIO', 'a write that would have to read it');
  t.equal(await nbd.write(bad, 4096, 'b'), 'ok', 'a whole sector needs no read, and heals it');
  t.equal(await nbd.read(bad, 4096), 'b');
  t.equal(await nbd.flush(), 'ok');
  t.equal(await server.stop(), true);
});

/** Fills the disk until it is refused; how many pieces were taken. */
async function fill(): Promise<{ pieces: number; errno: string }> {
  for (let pieces = 0; pieces * LONG < DATA_BYTES; pieces++) {
    const errno = await nbd.write(pieces * LONG, LONG, 'f');
    if (errno !== 'ok') return { pieces, errno };
  }
  return { pieces: DATA_BYTES / LONG, errno: 'ok' };
}

/** A sparse disk where there is no room for all of it: ENOSPC, everything acknowledged stays, and room heals it. */
async function lackOfRoom(t: Test, path: string, makeRoom: () => void): Promise<void> {
  const server = await serving(t, path);
  const { pieces, errno } = await fill();
  t.equal(errno, 'ENOSPC');
  t.ok(pieces > 0, `after ${pieces} pieces of ${LONG} bytes`);
  t.equal(await nbd.zero(DATA_BYTES - MIB, MIB), 'ENOSPC', 'zeros are written, too');
  t.equal(await nbd.flush(), 'ok', 'what was acknowledged is stored');
  t.equal(await nbd.write(0, LONG, 'g'), 'ok', 'what has room is written in place');
  t.equal(await nbd.read(LONG, (pieces - 1) * LONG), 'f');
  makeRoom();
  t.equal(await nbd.writeFua(pieces * LONG, LONG, 'h'), 'ok', 'with room, the same write works');
  t.equal(await nbd.zero(DATA_BYTES - MIB, MIB), 'ok');
  t.equal(await nbd.flush(), 'ok');
  t.equal(await server.stop(), true);
  await worksAgain(t, path, { 0: /^g$/, [pieces * LONG]: /^h$/ });
}

t.test('a full tmpfs: ENOSPC, and after it is made larger writes work', async (t) => {
  const dir = mounted(t, 'none', '-t', 'tmpfs', '-o', 'size=4m');
  await lackOfRoom(t, await fileOn(dir), () => run('mount', '-o', 'remount,size=64m', dir));
});

t.test('a full ext4: ENOSPC, and after another file is deleted writes work', async (t) => {
  const loop = loopDevice(t, ROOMY_BYTES);
  run('mkfs.ext4', '-q', '-m', '0', loop);
  const dir = mounted(t, loop);
  const path = await fileOn(dir);
  const room = Number(run('stat', '-fc', '%a', dir)) * Number(run('stat', '-fc', '%S', dir));
  const filler = `${dir}/filler`;
  run('fallocate', '--length', `${room - 4 * MIB}`, filler);
  await lackOfRoom(t, path, () => run('rm', filler));
});

t.test('a full quota (XFS): ENOSPC, and after it is raised writes work', async (t) => {
  const loop = loopDevice(t, 320 * MIB);
  run('mkfs.xfs', '-q', loop);
  const dir = mounted(t, loop, '-o', 'uquota');
  const path = await fileOn(dir);
  const owner = 1234;
  const limit = (mib: number) => run('xfs_quota', '-x', '-c', `limit bhard=${mib}m ${owner}`, dir);
  run('chown', `${owner}`, path);
  limit(4);
  await lackOfRoom(t, path, () => limit(64));
});

t.test('a file system that turns read-only: EPERM for writes, reads go on', async (t) => {
  const loop = loopDevice(t, ROOMY_BYTES);
  run('mkfs.ext4', '-q', loop);
  const dir = mounted(t, loop);
  const path = await fileOn(dir);
  await serving(t, path);
  t.equal(await nbd.writeFua(AT.a, LONG, 'a'), 'ok');
  run('mount', '-o', 'remount,abort', dir);
  t.equal(await nbd.writeFua(AT.b, LONG, 'b'), 'EPERM');
  forgetCached(path);
  t.equal(await nbd.read(AT.a, LONG), 'a');
});

t.test(
  'a file that is truncated underneath: EIO until opened again, and no hole is served as data',
  async (t) => {
    const path = await fileOn(process.env.VM_SCRATCH ?? '');
    const server = await serving(t, path);
    t.equal(await nbd.write(0, DATA_BYTES, 'a'), 'ok');
    t.equal(await nbd.flush(), 'ok');
    truncateSync(path, HEADER_BYTES + MIB);
    t.equal(await nbd.read(0, MIB), 'a', 'what is left is read');
    t.equal(await nbd.read(MIB - 4096, 8192), 'EIO', 'across the new end');
    t.equal(await nbd.read(4 * MIB, LONG), 'EIO', 'and beyond it');
    t.equal(
      await nbd.write(4 * MIB, LONG, 'b'),
      'EIO',
      'a write there would make a hole that reads as noise',
    );
    t.equal(await nbd.write(4 * MIB, 4096, 'b'), 'EIO', 'also a short one');
    t.equal(await nbd.flush(), 'EIO', 'what a FLUSH had stored is gone');
    t.equal(statSync(path).size, HEADER_BYTES + MIB, 'nothing made the file longer');
    truncateSync(path, FILE_BYTES);
    t.equal(await nbd.write(AT.a, LONG, 'c'), 'EIO', 'as long again, it is still without what was cut off');
    t.equal(await server.stop(), false);
  },
);
