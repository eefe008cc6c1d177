/**
 * Snapshots of an attached disk under a mounted, busy ext4: each is what a power cut at one instant could have left. Its file
 * system is sound, every record that was acknowledged before is in it, none that was written after it was answered.
 */

import { randomBytes } from 'node:crypto';
import { closeSync, fstatSync, openSync, readFileSync, statSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { detach } from '#sealdisk/attach/attachments.js';
import { type SnapshotServed, snapshotServed } from '#sealdisk/attach/snapshot.js';
import { logPath } from '#sealdisk/attach/state.js';
import type { CreatedDisk } from '#sealdisk/disk/create.js';
import { loopDevice, MIB, mounted } from './devices.js';
import { RECORD_BYTES } from './record.js';
import { firstWrong, Writer } from './records.js';
import { attached, fsck, gateIs, kill, mount, mountNew, newDisk, run, umount } from './rig.js';

const SIZE_BYTES = 24n * 1024n * 1024n;
/** Without holes, and shared with writers, a copy of it takes seconds; the server is killed within a fraction of one. */
const COPIED_BYTES = 96n * 1024n * 1024n;

interface Snapshot extends SnapshotServed {
  readonly path: string;
  /** Records of each writer that were acknowledged before it began, and when it was answered. */
  readonly before: number[];
  readonly answered: number[];
}

async function snapshot(
  disk: CreatedDisk,
  path: string,
  writers: Writer[],
  mode: 'auto' | 'copy',
  onTaken: () => void = () => {},
): Promise<Snapshot> {
  const acknowledged = () => writers.map((one) => one.acknowledged);
  const before = acknowledged();
  let answered: number[] = [];
  const taken = await snapshotServed(disk.uuid, path, {
    mode,
    onTaken: () => {
      answered = acknowledged();
      onTaken();
    },
  });
  return { ...taken, path, before, answered };
}

/** Attached in the place of its disk, which has its UUID, it is a sound file system with the right records. */
async function check(t: Test, disk: CreatedDisk, { path, before, answered, heldMs, how }: Snapshot) {
  t.comment(`${how}: requests were held for ${heldMs.toFixed(1)} ms`);
  t.ok(heldMs > 0);
  const { device } = await attached(t, { ...disk, path });
  const dir = mount(device); // replays the journal
  for (const [i, name] of ['a', 'b'].entries()) {
    const file = join(dir, name);
    t.equal(firstWrong(file, before[i] ?? 0), 0, 'what was acknowledged before is in it');
    const records = Math.floor(statSync(file).size / RECORD_BYTES);
    t.ok(records <= (answered[i] ?? 0) + 2, 'what was written after is not'); // one in flight, one told late
  }
  umount(dir);
  fsck(device);
  await detach(path, false);
}

/** As a disk is that has been written all over. */
function fillWithNoise(path: string): void {
  const noise = randomBytes(MIB);
  const fd = openSync(path, 'r+');
  for (let at = 16 * MIB; at < fstatSync(fd).size; at += MIB) writeSync(fd, noise, 0, MIB, at);
  closeSync(fd);
}

async function load(t: Test, device: string) {
  const dir = mountNew(device);
  const writers = [new Writer(t, `${dir}/a`), new Writer(t, `${dir}/b`)];
  await Promise.all(writers.map((one) => one.advance(10)));
  const stop = async () => {
    for (const writer of writers) t.equal(await writer.stop(), 0);
    umount(dir);
  };
  return { writers, stop };
}

await t.test('by copy, two at once, the server killed amid them', async (t) => {
  const disk = await newDisk(4096, COPIED_BYTES);
  fillWithNoise(disk.path);
  const { device } = await attached(t, disk, { standby: true });
  const { writers, stop } = await load(t, device);
  const { serverPid } = await gateIs(disk, 'live');
  const { first, second } = await new Promise<Record<'first' | 'second', Promise<Snapshot>>>((resolve) => {
    const first = snapshot(disk, `${disk.path}-1`, writers, 'copy', () => {
      const second = snapshot(disk, `${disk.path}-2`, writers, 'copy', () => kill(serverPid));
      resolve({ first, second });
    });
  });
  const snapshots = [await first, await second];
  await Promise.all(writers.map((one) => one.advance(5)));
  await stop();
  const resumed = readFileSync(logPath(disk.uuid), 'utf8').match(/snapshot_resumed/g);
  t.ok(resumed?.length, 'the server that took over went on with the copy');
  await detach(disk.path, false);
  for (const one of snapshots) await check(t, disk, one);
});

for (const [name, mkfs] of [
  ['btrfs', ['mkfs.btrfs', '-q', '-K']],
  ['xfs', ['mkfs.xfs', '-q', '-K']],
] as const) {
  await t.test(`by reflink, on ${name}`, async (t) => {
    const backing = loopDevice(t, 300 * MIB);
    run(...(mkfs as readonly [string, ...string[]]), backing);
    const disk = await newDisk(4096, SIZE_BYTES, mounted(t, backing));
    const { device } = await attached(t, disk);
    const { writers, stop } = await load(t, device);
    const path = join(dirname(disk.path), 'snapshot');
    const one = await snapshot(disk, path, writers, 'auto');
    t.equal(one.how, 'reflink');
    await Promise.all(writers.map((writer) => writer.advance(5)));
    await stop();
    await detach(disk.path, false);
    await check(t, disk, one);
  });
}
