/** resize on a real kernel: a mounted ext4 grows under a writer; shrinking only what nobody uses; servers that die in between. */

import { closeSync, openSync, statfsSync, statSync, truncateSync } from 'node:fs';
import t from 'tap';
import { resize } from '#sealdisk/attach/resize.js';
import { firstWrong, Writer } from './records.js';
import {
  attached,
  environment,
  fsck,
  kill,
  listed,
  mount,
  mountNew,
  newDisk,
  processesOf,
  run,
  sealdisk,
  sha256,
  umount,
  until,
  watchKernel,
} from './rig.js';

const MIB = 1024 * 1024;
const OFFSET = 16 * MIB;
const sizeOf = (device: string) => Number(run('blockdev', '--getsize64', device));

await t.test('an ext4 that is mounted and written to grows online, and is whole afterwards', async (t) => {
  const disk = await newDisk(4096, 24n * BigInt(MIB));
  const { device } = await attached(t, disk);
  const complaints = watchKernel();
  const dir = mountNew(device);
  const writer = new Writer(t, `${dir}/records`);
  await writer.advance(5);
  t.match(sealdisk('resize', device, '--size', '+24M', '--json'), {
    code: 0,
    out: /"sizeBytes": "50331648"/,
  });
  t.equal(sizeOf(device), 48 * MIB);
  t.equal(statSync(disk.path).size, OFFSET + 48 * MIB);
  t.match(await listed(disk), { sizeBytes: `${48 * MIB}` });
  const before = statfsSync(dir).blocks;
  await writer.advance(5);
  run('resize2fs', device);
  t.ok(
    statfsSync(dir).blocks > before + 20_000 * (1024 / statfsSync(dir).bsize),
    'the file system has the room',
  );
  run('dd', 'if=/dev/urandom', `of=${dir}/data`, 'bs=1M', 'count=26', 'conv=fsync', 'status=none');
  const checksum = sha256(`${dir}/data`);
  await writer.advance(5);
  t.equal(await writer.stop(), 0);

  for (const [args, code, says] of [
    [['--size', '24M'], 4, /no --force/],
    [['--size', '24M', '--force'], 8, new RegExp(`cannot shrink while it is mounted on ${dir};`)],
  ] as const) {
    t.match(sealdisk('resize', disk.path, ...args), { code, err: says });
  }
  umount(dir);
  const fd = openSync(device, 'r');
  await t.rejects(resize(disk.path, { kind: 'to', bytes: `${24 * MIB}` }, true, environment), {
    code: 'DISK_RESIZE_BUSY',
  });
  closeSync(fd);
  t.equal(sizeOf(device), 48 * MIB, 'a refusal changes nothing');
  fsck(device);
  t.equal(sha256(`${mount(device)}/data`), checksum);
  t.equal(firstWrong(`${dir}/records`, writer.acknowledged), 0, 'every acknowledged record is there');
  umount(dir);

  run('resize2fs', '-f', device, '40M');
  await resize(disk.path, { kind: 'to', bytes: `${40 * MIB}` }, true, environment);
  t.equal(sizeOf(device), 40 * MIB);
  t.equal(statSync(disk.path).size, OFFSET + 40 * MIB);
  fsck(device);
  t.equal(sha256(`${mount(device)}/data`), checksum, 'shrunk by force, with its file system before it');
  umount(dir);
  t.same(complaints(), []);
});

await t.test(
  'a server that dies between the file and the kernel is replaced by one that shows the new size',
  async (t) => {
    const disk = await newDisk(512, 4n * BigInt(MIB));
    const { device } = await attached(t, disk);
    const fd = openSync(device, 'r+');
    truncateSync(disk.path, OFFSET + 6 * MIB);
    const { serverPid } = await listed(disk);
    await kill(serverPid as number);
    await until('the new size', () => sizeOf(device) === 6 * MIB);
    await resize(disk.path, { kind: 'by', bytes: `${MIB}` }, false, environment);
    t.equal(sizeOf(device), 7 * MIB, 'and it is resized further');
    closeSync(fd);

    await t.test('a device whose processes are all gone is not shrunk behind its back', async (t) => {
      for (const { pid } of processesOf(disk).all.reverse()) process.kill(pid, 'SIGKILL');
      await until('all to be gone', () => processesOf(disk).all.length === 0);
      const to = (sizeMib: number) => ({ kind: 'to', bytes: `${sizeMib * MIB}` }) as const;
      const busy = { code: 'DISK_RESIZE_BUSY', message: new RegExp(device) };
      await t.rejects(resize(disk.path, to(2), true, environment), busy);
      t.equal(statSync(disk.path).size, OFFSET + 7 * MIB);
      t.match(await resize(disk.path, to(8), false, environment), { sizeBytes: `${8 * MIB}` });
      t.equal((await attached(t, disk)).device, device, 'the next attach takes it over');
      t.equal(sizeOf(device), 8 * MIB);
    });
  },
);
