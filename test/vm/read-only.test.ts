/** A disk that is read-only writes nothing at all: not a byte, not a time, where it may not and where it could. */

import { closeSync, mkdirSync, openSync, statSync, writeSync } from 'node:fs';
import t, { type Test } from 'tap';
import { attach, detach } from '#sealdisk/attach/attachments.js';
import { resize } from '#sealdisk/attach/resize.js';
import type { CreatedDisk } from '#sealdisk/disk/create.js';
import { readDisk } from '#sealdisk/disk/read.js';
import {
  attached,
  environment,
  listed,
  mount,
  mountNew,
  newDisk,
  requestFor,
  run,
  sealdisk,
  sha256,
  umount,
} from './rig.js';

/** Everything that a write to the file would change; reading may move the time of access. */
function stateOf(path: string): string {
  const { size, mtimeNs, ctimeNs, blocks } = statSync(path, { bigint: true });
  return `${size} ${mtimeNs} ${ctimeNs} ${blocks} ${sha256(path)}`;
}

const disk = await newDisk(4096, 8n * 1024n * 1024n);
await t.test('first it has a file system', async (t) => {
  const { device } = await attached(t, disk);
  const dir = mountNew(device);
  run('dd', 'if=/dev/urandom', `of=${dir}/data`, 'bs=1M', 'count=1', 'conv=fsync', 'status=none');
  umount(dir);
});

/** Attaches read-only, reads all, tries to write; the file stays as it is. */
async function readsOnly(t: Test, target: CreatedDisk): Promise<void> {
  const before = stateOf(disk.path);
  const { device } = await attached(t, target, { readOnly: true });
  t.match(await listed(target), { readOnly: true, gate: 'live' });
  const dir = mount(device, '-o', 'ro,noload');
  t.equal(statSync(`${dir}/data`).size, 1 << 20);
  run('dd', `if=${dir}/data`, 'of=/dev/null', 'bs=1M', 'status=none');
  umount(dir);
  t.throws(() => run('blkdiscard', '-f', device), 'no discard');
  t.throws(() => run('dd', 'if=/dev/zero', `of=${device}`, 'bs=4096', 'count=1', 'oflag=direct'), 'no write');
  await t.rejects(resize(target.path, { kind: 'by', bytes: '1048576' }, false, environment), {
    message: /read-only/,
  });
  await detach(device, false);
  t.equal(stateOf(disk.path), before);
}

await t.test('a file that nobody may change', async (t) => {
  run('chattr', '+i', disk.path);
  t.teardown(() => run('chattr', '-i', disk.path));
  await t.rejects(attach(requestFor(disk)), { message: /EPERM/ }, 'read-write it cannot be attached');
  await readsOnly(t, disk);
});

await t.test('a mount that is read-only', async (t) => {
  const dir = '/run/read-only';
  mkdirSync(dir);
  run('mount', '--bind', disk.path.replace(/\/[^/]*$/, ''), dir);
  t.teardown(() => run('umount', '-l', dir));
  run('mount', '-o', 'remount,bind,ro', dir);
  const target = { ...disk, path: disk.path.replace(/^.*\//, `${dir}/`) };
  await t.rejects(attach(requestFor(target)), { message: /EROFS/ }, 'read-write it cannot be attached');
  await readsOnly(t, target);
});

await t.test(
  'where it could write: even a header copy that is bad stays bad, also where a discard was asked for',
  async (t) => {
    const fd = openSync(disk.path, 'r+');
    writeSync(fd, 'x', 6000);
    closeSync(fd);
    await readsOnly(t, disk);
    t.match(await readDisk(disk.path), { repair: 'primary', holes: false });
    const before = stateOf(disk.path);
    t.match(sealdisk('attach', disk.path, '--read-only', '--discard'), { code: 2, err: /--discard/ });
    t.equal(stateOf(disk.path), before);
  },
);
