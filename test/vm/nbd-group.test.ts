/**
 * What blktests' group for nbd asks of the kernel, asked with sealdisk as the server: a device that changes its size while it
 * is connected (its 001), partitions that come and go with the connection (002), a connection that is cleared while file
 * systems are mounted and unmounted (003), and a module that is unloaded while devices connect (004). blktests judges the
 * kernel; here the server must outlive all of it, and no byte may be lost.
 */

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, statfsSync } from 'node:fs';
import t from 'tap';
import { detach } from '#sealdisk/attach/attachments.js';
import {
  connect,
  disconnect,
  ioctl,
  isConnected,
  NBD_CLEAR_SOCK,
  NBD_SET_SIZE,
  serve,
  sizeBytes,
  sockets,
} from './nbd-client.js';
import {
  attached,
  fsck,
  mount,
  mountNew,
  newDisk,
  nothingRemains,
  run,
  sealdisk,
  sha256,
  umount,
  until,
} from './rig.js';

const DEVICE = '/dev/nbd7';
const NAME = 'nbd7';
const MODES = { ioctl: ['-nonetlink'], netlink: [] };

/** A file of noise on stable storage; its checksum. */
function writeNoise(path: string): string {
  run('dd', 'if=/dev/urandom', `of=${path}`, 'bs=1M', 'count=4', 'conv=fsync', 'status=none');
  return sha256(path);
}

t.test('001: a connected device takes another size at once, under a mounted file system too', async (t) => {
  const disk = await newDisk();
  const server = await serve(t, disk, 'unix');
  const setSize = (bytes: bigint) => ioctl(DEVICE, NBD_SET_SIZE, bytes);
  const seen = () => [sizeBytes(DEVICE), BigInt(run('blockdev', '--getsize64', DEVICE).trim())];
  const half = disk.sizeBytes / 2n;
  await connect(t, server, DEVICE, ...MODES.ioctl);
  t.same(seen(), [disk.sizeBytes, disk.sizeBytes]);
  setSize(half);
  t.same(seen(), [half, half]);

  const dir = mountNew(DEVICE);
  const sum = writeNoise(`${dir}/file`);
  const blocks = statfsSync(dir).blocks;
  setSize(disk.sizeBytes);
  t.same(seen(), [disk.sizeBytes, disk.sizeBytes]);
  run('resize2fs', DEVICE);
  t.ok(statfsSync(dir).blocks > 1.8 * blocks, 'the file system grows into it');
  t.equal(sha256(`${dir}/file`), sum);
  umount(dir);
  fsck(DEVICE);
  await disconnect(DEVICE, ...MODES.ioctl);
  t.equal(await server.stop(), 0);
});

/** The partitions that the kernel knows of. It looks when the device is opened, which udev would do. */
const partitions = (name: string): string[] => {
  run('blockdev', '--getsize64', `/dev/${name}`);
  return readdirSync(`/sys/block/${name}`).filter((entry) => entry.startsWith(`${name}p`));
};

t.test(
  '002: partitions come with the connection and go with it, by ioctls, netlink and attach',
  async (t) => {
    // A partition table counts in the device's blocks: the attached disk must have those of nbd-client.
    const disk = await newDisk(512);
    const server = await serve(t, disk, 'unix');
    await connect(t, server, DEVICE);
    t.same(partitions(NAME), []);
    const made = spawnSync('sfdisk', ['--quiet', DEVICE], {
      input: 'label: dos\n8M,16M\n32M,\n',
      encoding: 'utf8',
    });
    t.equal(made.status, 0, made.stderr);
    t.same(partitions(NAME), [`${NAME}p1`, `${NAME}p2`]);
    await disconnect(DEVICE);
    t.same(partitions(NAME), [], 'after the disconnect');

    for (const mode of Object.values(MODES)) {
      await connect(t, server, DEVICE, ...mode);
      t.same(partitions(NAME), [`${NAME}p1`, `${NAME}p2`], `nbd-client ${mode.join()}`);
      t.equal(readFileSync(`/sys/block/${NAME}/${NAME}p1/size`, 'utf8').trim(), `${(16 << 20) / 512}`);
      await disconnect(DEVICE, ...mode);
      t.same(partitions(NAME), []);
    }
    t.equal(await server.stop(), 0);

    const { device } = await attached(t, disk);
    const name = device.slice('/dev/'.length);
    t.same(partitions(name), [`${name}p1`, `${name}p2`], 'sealdisk attach');
    t.ok(existsSync(`${device}p1`));
    const dir = mountNew(`${device}p1`);
    const sum = writeNoise(`${dir}/file`);
    await t.rejects(
      detach(device, false),
      { code: 'ATTACH_DEVICE_BUSY' },
      'a mounted partition keeps its device',
    );
    umount(dir);
    fsck(`${device}p1`);
    mount(`${device}p1`);
    t.equal(sha256(`${dir}/file`), sum);
    umount(dir);
    await detach(device, false);
    t.same(partitions(name), []);
  },
);

/** Mounts and unmounts as fast as it can, while a second process clears the connection after some of the rounds. */
const RACE = `
import ctypes, fcntl, os, sys
device, folder, request, after = sys.argv[1:]
libc = ctypes.CDLL(None)
fd = os.open(device, os.O_RDONLY)
ready, go = os.pipe()
child = os.fork()
if child == 0:
    os.read(ready, 1)
    for _ in range(20):
        fcntl.ioctl(fd, int(request), 0)
    os._exit(0)
for n in range(20):
    if n == int(after):
        os.write(go, b".")
    if libc.mount(device.encode(), folder.encode(), b"ext4", 0, None) == 0:
        libc.umount2(folder.encode(), 0)
os.waitpid(child, 0)`;

t.test('003: a connection that is cleared while mounts come and go costs no byte', async (t) => {
  const disk = await newDisk();
  const server = await serve(t, disk, 'unix');
  const idle = sockets(server.pid);
  await connect(t, server, DEVICE, ...MODES.ioctl);
  const dir = mountNew(DEVICE);
  const sum = writeNoise(`${dir}/file`);
  umount(dir);
  await disconnect(DEVICE, ...MODES.ioctl);

  for (let round = 0; round < 2; round++) {
    await connect(t, server, DEVICE, ...MODES.ioctl);
    run('/usr/bin/python3', '-c', RACE, DEVICE, dir, `${NBD_CLEAR_SOCK}`, `${round}`);
    await until('the connection to be gone', () => !isConnected(DEVICE) && sockets(server.pid) === idle);
    t.notMatch(readFileSync('/proc/mounts', 'utf8'), dir, `nothing is mounted after round ${round + 1}`);
  }

  await connect(t, server, DEVICE);
  mount(DEVICE);
  t.equal(sha256(`${dir}/file`), sum);
  umount(dir);
  // The journal was replayed; a note of the error is all that fsck may mend.
  t.ok([0, 1].includes(spawnSync('fsck.ext4', ['-fp', DEVICE]).status ?? -1));
  fsck(DEVICE);
  await disconnect(DEVICE);
  t.equal(await server.stop(), 0);
});

const ROUNDS = 3;
/** A shell that runs a line again and again, whatever comes of it. */
const again = (line: string) =>
  spawn('bash', ['-c', `for ((i = 0; i < ${ROUNDS}; i++)); do ${line}; done; :`], { stdio: 'ignore' });
const unload = () => spawnSync('modprobe', ['-r', 'nbd'], { encoding: 'utf8' });
const load = () => run('modprobe', 'nbd');

t.test(
  '004: the module stays while a disk is attached, and comes back whole after it was away',
  async (t) => {
    const disk = await newDisk();
    t.teardown(load);

    await t.test('in use it cannot be unloaded, and the attached disk notices nothing', async (t) => {
      const { device } = await attached(t, disk);
      t.match(unload(), { status: 1, stderr: /in use/ });
      const dir = mountNew(device);
      t.match(unload(), { status: 1, stderr: /in use/ });
      writeNoise(`${dir}/file`);
      umount(dir);
      fsck(device);
    });

    await t.test(
      'while it is away an attach is refused and leaves nothing, and after it is there works',
      async (t) => {
        t.equal(unload().status, 0);
        t.match(sealdisk('attach', disk.path), { err: /\[KERNEL_NO_NBD\]\n$/ });
        await nothingRemains(t);
        load();
        const { device } = await attached(t, disk);
        fsck(device);
      },
    );

    await t.test('unloaded and loaded again and again while devices connect', async (t) => {
      const server = await serve(t, disk, 'unix');
      const connecting = again(`nbd-client ${server.address.join(' ')} ${DEVICE} && nbd-client -d ${DEVICE}`);
      const loading = again('modprobe -r nbd; modprobe nbd');
      t.same(await Promise.all([once(connecting, 'exit'), once(loading, 'exit')]), [
        [0, null],
        [0, null],
      ]);
      load();
      if (isConnected(DEVICE)) await disconnect(DEVICE);
      await connect(t, server, DEVICE);
      fsck(DEVICE);
      await disconnect(DEVICE);
      t.equal(await server.stop(), 0);
      t.notMatch(run('dmesg'), /cannot create duplicate filename/);
    });
  },
);

t.test('at the end nothing of it remains', (t) => nothingRemains(t));
