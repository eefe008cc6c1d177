/**
 * The key goes away under a mounted ext4 with a writer at work, and comes back: what each policy of design promises.
 *
 * SEALDISK_HANG_S is how long the disk hangs: a few of the kernel's request timeouts, or ten minutes by hand.
 */

import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { logPath } from '#sealdisk/attach/state.js';
import { firstWrong, Writer } from './records.js';
import {
  attached,
  fsck,
  gateIs,
  kms,
  listed,
  mount,
  mountNew,
  newDisk,
  nothingRemains,
  run,
  sealdisk,
  umount,
  until,
  watchKernel,
} from './rig.js';

const HANG_MS = Number(process.env.SEALDISK_HANG_S ?? 5) * 1000;

t.test('hang: the writer waits as long as the key is away, nothing fails, and nothing is lost', async (t) => {
  const disk = await newDisk();
  const { device } = await attached(t, disk);
  const dir = mountNew(device);
  const complaints = watchKernel();
  const writer = new Writer(t, `${dir}/records`);
  await writer.advance(20);

  t.equal(sealdisk('key', 'disable', disk.key, '--yes').code, 0);
  t.match((await gateIs(disk, 'hung')).reason, new RegExp(`${disk.key} is disabled`));
  await writer.waits();
  const before = writer.acknowledged;
  t.match(await listed(disk), { gate: 'hung', device });
  // The one wait for a time: that nothing happens has no condition to be awaited.
  await delay(HANG_MS);
  t.equal(writer.acknowledged, before, 'the writer stands still');
  t.match(await listed(disk), { gate: 'hung' });
  t.same(complaints(), [], 'the kernel saw no error');

  await kms.enableKey(disk.key);
  await gateIs(disk, 'live');
  await writer.advance(20);
  t.equal(await writer.stop(), 0, 'the writer met no error');
  umount(dir);
  fsck(device);
  mount(device);
  t.equal(firstWrong(`${dir}/records`, writer.acknowledged), 0, 'every acknowledged record is there');
  umount(dir);
  t.same(complaints(), [], 'the kernel saw no error at all');
});

t.test('fail: I/O ends in EIO, and after enable and a new mount the disk works', async (t) => {
  const disk = await newDisk();
  const { device } = await attached(t, disk, { onKeyLoss: 'fail' });
  const dir = mountNew(device);
  const complaints = watchKernel();
  const writer = new Writer(t, `${dir}/records`);
  await writer.advance(20);

  await kms.disableKey(disk.key);
  await gateIs(disk, 'failed');
  t.equal(await writer.ended(), 1);
  t.match(writer.errors, /^(EIO|EROFS)$/m);
  await until('ext4 to give up', () =>
    complaints().some((line) => /EXT4-fs error|Aborting|read-only/.test(line)),
  );
  t.ok(complaints().some((line) => /I\/O error/.test(line)));

  await kms.enableKey(disk.key);
  await gateIs(disk, 'live');
  umount(dir);
  mount(device);
  t.equal(firstWrong(`${dir}/records`, writer.acknowledged), 0, 'every acknowledged record is there');
  const again = new Writer(t, `${dir}/more`);
  await again.advance(5);
  t.equal(await again.stop(), 0);
  umount(dir);
  // The journal was replayed; what the kernel noted of the error is all that fsck may mend.
  run('fsck.ext4', '-fp', device);
  fsck(device);
});

t.test('keep: the disk serves on, and the log warns of it', async (t) => {
  const disk = await newDisk();
  const { device } = await attached(t, disk, { onKeyLoss: 'keep' });
  const dir = mountNew(device);
  const writer = new Writer(t, `${dir}/records`);
  await writer.advance(5);

  await kms.disableKey(disk.key);
  const log = logPath(disk.uuid);
  await until('the warning', () => /"event":"key_kept"/.test(readFileSync(log, 'utf8')));
  await writer.advance(20);
  t.match(await listed(disk), { gate: 'live', reason: /is disabled/ });
  t.equal(await writer.stop(), 0);
  umount(dir);
});

t.test('at the end nothing of these attachments remains', (t) => nothingRemains(t));
