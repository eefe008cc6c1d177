/** attach, list, info and detach as a user meets them, on a real kernel. */

import { closeSync, openSync } from 'node:fs';
import t from 'tap';
import { attach, detach, find } from '#sealdisk/attach/attachments.js';
import { rewrap } from '#sealdisk/attach/rewrap.js';
import { firstWrong, Writer } from './records.js';
import {
  attached,
  gateIs,
  kms,
  mount,
  mountNew,
  newDisk,
  nothingRemains,
  poolDir,
  remains,
  requestFor,
  run,
  sealdisk,
  sha256,
  umount,
} from './rig.js';

const disk = await newDisk();
const other = await newDisk();
let checksum = '';
const MOVED = 'local:alias/moved';

await t.test('attach prints the device as its last line, and takes the one that is asked for', async (t) => {
  const { code, out } = sealdisk('attach', disk.path, '--device', '/dev/nbd3', '--key-check-interval', '1s');
  t.equal(code, 0);
  t.equal(out.trimEnd().split('\n').at(-1), '/dev/nbd3');
  t.equal(run('blockdev', '--getsize64', '/dev/nbd3').trim(), `${disk.sizeBytes}`);
});

await t.test('list and info tell of the attachment', async (t) => {
  const wanted = {
    uuid: disk.uuid,
    path: disk.path,
    device: '/dev/nbd3',
    serverPid: Number,
    keyUri: disk.key,
    gate: 'live',
  };
  t.match(JSON.parse(sealdisk('list', '--json').out), [wanted]);
  t.match(JSON.parse(sealdisk('info', '/dev/nbd3', '--json').out), wanted);
});

await t.test('rewrap moves the attached disk under another key, through its server', async (t) => {
  await kms.createKey({ alias: 'alias/moved' });
  const done = await rewrap('/dev/nbd3', { keyUri: MOVED, force: false }, { poolDir, env: process.env });
  t.match(done, { changed: true, keyUri: MOVED, was: { keyUri: disk.key } });
  await kms.disableKey(disk.key);
  t.match(await find(disk.path), { keyUri: MOVED, gate: 'live', device: '/dev/nbd3' });
  await kms.disableKey(MOVED);
  await gateIs(disk, 'hung');
  await kms.enableKey(MOVED);
  await gateIs(disk, 'live');
});

await t.test('a second attach of the disk is refused, and so is a device that is taken', async (t) => {
  t.match(sealdisk('attach', disk.path), { code: 8, err: /already attached as \/dev\/nbd3/ });
  await t.rejects(attach(requestFor(other, { index: 3 })), { message: /\/dev\/nbd3 is in use/ });
});

await t.test('detach refuses while the device is mounted, names where, and while it is open', async (t) => {
  const dir = mountNew('/dev/nbd3');
  run('dd', 'if=/dev/urandom', `of=${dir}/data`, 'bs=1M', 'count=2', 'conv=fsync', 'status=none');
  checksum = sha256(`${dir}/data`);
  const refused = sealdisk('detach', '/dev/nbd3');
  t.match(refused, { code: 8 });
  t.ok(refused.err.includes(`mounted on ${dir}`), refused.err);
  umount(dir);
  const fd = openSync('/dev/nbd3', 'r');
  try {
    await t.rejects(detach(disk.path, false), { message: new RegExp(`open.*${process.pid}`) });
  } finally {
    closeSync(fd);
  }
  t.match(sealdisk('detach', disk.path), { code: 0, out: /\/dev\/nbd3/ });
  await nothingRemains(t);
});

await t.test('what is not attached cannot be detached: exit code 3', async (t) => {
  t.match(sealdisk('detach', '/dev/nbd3'), { code: 3, err: /is not attached/ });
});

await t.test('--read-only mounts and refuses writes', async (t) => {
  const device = sealdisk('attach', disk.path, '--read-only').out.trimEnd();
  t.match(run('lsblk', '-dno', 'RO', device).trim(), '1');
  const dir = mount(device, '-o', 'ro');
  t.equal(sha256(`${dir}/data`), checksum);
  umount(dir);
  t.throws(() => run('dd', 'if=/dev/zero', `of=${device}`, 'count=1', 'oflag=direct'));
  t.equal(sealdisk('detach', device).code, 0);
});

await t.test(
  'detach --force fails what hangs, and the disk attaches again with what was on it',
  async (t) => {
    const { device } = await attached(t, disk);
    const dir = mount(device);
    const writer = new Writer(t, `${dir}/records`);
    await writer.advance(5);
    await kms.disableKey(MOVED);
    await gateIs(disk, 'hung');
    await writer.waits();
    t.equal(sealdisk('detach', device, '--force').code, 0);
    t.equal(await writer.ended(), 1);
    umount(dir);
    await nothingRemains(t);

    await kms.enableKey(MOVED);
    t.equal((await attached(t, disk)).device, device);
    t.equal(sha256(`${mount(device)}/data`), checksum);
    t.equal(firstWrong(`${dir}/records`, writer.acknowledged), 0, 'every acknowledged record is there');
    umount(dir);
  },
);

await t.test('a disabled key refuses attach with its name and state, and leaves nothing', async (t) => {
  await kms.disableKey(other.key);
  const refused = sealdisk('attach', other.path);
  t.equal(refused.code, 5);
  t.match(refused.err, new RegExp(`^sealdisk: key ${other.key} is disabled; .*\\n$`), 'one line');
  t.equal(refused.out, '');
  t.same(remains(), []);
});
