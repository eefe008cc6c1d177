/**
 * Debian's nbd-client, which nobody here wrote, attaches what `sealdisk serve` serves: over a unix socket and TCP, by ioctls
 * and by netlink, with blocks of 512 and 4096 bytes and with two connections. Each way judges what the way before it wrote.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import t from 'tap';
import { connect, disconnect, isConnected, serve, sizeBytes, sockets } from './nbd-client.js';
import { fsck, mount, mountNew, newDisk, nothingRemains, run, umount, until, watchKernel } from './rig.js';

const FILES = 'build/native-test/fast/files_vm';
const OPERATIONS = '100';
const SEED = process.env.SEED ?? `${Math.floor(Math.random() * 2 ** 32)}`;
const DEVICE = '/dev/nbd7';

interface Way {
  readonly by: 'ioctl' | 'netlink';
  readonly blockSize: 512 | 4096;
  readonly connections: 1 | 2;
}

/** Larger blocks first: mkfs then makes a file system that also works on the smaller ones. */
const WAYS: Record<'unix' | 'tcp', Way[]> = {
  unix: [
    { by: 'netlink', blockSize: 4096, connections: 1 },
    { by: 'ioctl', blockSize: 512, connections: 2 },
  ],
  tcp: [
    { by: 'ioctl', blockSize: 4096, connections: 1 },
    { by: 'netlink', blockSize: 512, connections: 2 },
  ],
};

t.comment(`SEED=${SEED}`);

for (const over of ['unix', 'tcp'] as const) {
  t.test(`nbd-client over ${over}`, async (t) => {
    const disk = await newDisk();
    const server = await serve(t, disk, over);
    const idle = sockets(server.pid);
    const complaints = watchKernel();
    let written = false;

    for (const { by, blockSize, connections } of WAYS[over]) {
      await t.test(`by ${by}, blocks of ${blockSize} bytes, connections: ${connections}`, async (t) => {
        const mode = by === 'ioctl' ? ['-nonetlink'] : [];
        const options = ['-block-size', `${blockSize}`, '-connections', `${connections}`];
        await connect(t, server, DEVICE, ...mode, ...options);
        t.equal(sizeBytes(DEVICE), disk.sizeBytes);
        t.equal(run('blockdev', '--getss', DEVICE).trim(), `${blockSize}`);
        t.equal(sockets(server.pid) - idle, connections, 'the server has as many connections');
        t.match(run('nbd-client', '-c', DEVICE), /^\d+\n+$/, 'nbd-client finds it connected');

        const dir = written ? mount(DEVICE) : mountNew(DEVICE);
        if (written) execFileSync(FILES, ['judge', `${dir}/first`, SEED, OPERATIONS]);
        else execFileSync(FILES, ['run', `${dir}/first`, SEED, OPERATIONS]);
        execFileSync(FILES, ['run', `${dir}/${by}`, SEED, OPERATIONS]);
        written = true;
        umount(dir);
        fsck(DEVICE);

        await disconnect(DEVICE, ...mode);
        await until('the server to see it', () => sockets(server.pid) === idle);
        t.equal(spawnSync('nbd-client', ['-c', DEVICE]).status, 1, 'and not connected after');
      });
    }

    t.notOk(isConnected(DEVICE));
    t.equal(await server.stop(), 0);
    t.same(complaints(), [], 'the kernel saw no error');
  });
}

t.test('nbd-client lists the export, and connects to it by its name only', async (t) => {
  const disk = await newDisk();
  const server = await serve(t, disk, 'tcp', '--export-name', 'data');
  t.match(run('nbd-client', '-l', ...server.address), /^data$/m);
  t.throws(() => run('nbd-client', ...server.address, DEVICE, '-name', 'other'));
  t.notOk(isConnected(DEVICE));
  await connect(t, server, DEVICE, '-name', 'data');
  t.equal(sizeBytes(DEVICE), disk.sizeBytes);
  await disconnect(DEVICE);
  t.equal(await server.stop(), 0);
});

t.test('at the end nothing of it remains', (t) => nothingRemains(t));
