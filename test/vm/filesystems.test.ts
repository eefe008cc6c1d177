/**
 * ext4, xfs and btrfs on an attached disk, mounted with discard: busy with fio, whose reads verify, and with files_vm, which
 * compares every read with a copy in memory. Then everything is judged once more after a detach and an attach, by the file
 * system's fsck, and after fstrim: what the file system freed is a hole of the disk's file, what it keeps is the same.
 *
 * SEALDISK_FS_OPERATIONS is how many operations files_vm does to a file and to a tree; SEED repeats a run.
 */

import { readdirSync, statSync } from 'node:fs';
import t from 'tap';
import { detach } from '#sealdisk/attach/attachments.js';
import { ends, FILE_SYSTEMS, MIB } from './file-systems.js';
import { attached, mount, newDisk, nothingRemains, sha256, umount, until, watchKernel } from './rig.js';

const OPERATIONS = process.env.SEALDISK_FS_OPERATIONS ?? '200';
const SEED = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 32));
const FILES = 'build/native-test/fast/files_vm';

/** Mixed reads and writes, each block with a checksum that is verified; through the page cache and past it. */
const fio = (dir: string) =>
  ends(
    ...['fio', '--minimal', `--directory=${dir}`, '--thread', `--randseed=${SEED}`, '--verify_state_save=0'],
    ...['--rw=randrw', '--size=3M', '--verify=crc32c', '--verify_fatal=1', '--verify_backlog=32'],
    ...['--name=cached', '--numjobs=2', '--bsrange=4k-64k', '--fsync=24', '--ioengine=psync'],
    ...['--name=direct', '--numjobs=1', '--bs=8k', '--iodepth=8', '--direct=1', '--ioengine=io_uring'],
  );

const files = (verb: 'run' | 'judge', dir: string, shifts: boolean) =>
  [1, 2].map((n) =>
    ends(FILES, verb, `${dir}/${n}`, `${SEED + n}`, OPERATIONS, ...(shifts ? [] : ['no-shifts'])),
  );

/** The checksum of each file that fio left. */
const sums = (dir: string) =>
  readdirSync(dir)
    .filter((name) => /^(cached|direct)\./.test(name))
    .map((name) => [name, sha256(`${dir}/${name}`)]);

/** How much of a file is on its disk. */
const allocatedBytes = (path: string) => statSync(path).blocks * 512;

/** Deletes a file of 12 MiB, lets the file system do `free`, and waits for the hole. */
async function freed(path: string, dir: string, free: () => Promise<unknown>): Promise<string> {
  const noise = ['if=/dev/urandom', `of=${dir}/deleted`, 'bs=1M', 'count=12', 'conv=fsync', 'status=none'];
  await ends('dd', ...noise);
  const full = allocatedBytes(path);
  await ends('rm', `${dir}/deleted`);
  await ends('sync', '-f', dir);
  await free();
  await until('the holes', () => allocatedBytes(path) < full - 10 * Number(MIB));
  return `${full} bytes in the disk's file, ${allocatedBytes(path)} after`;
}

t.comment(`SEED=${SEED}`);

for (const { name, sizeBytes, sectorSize, mkfs, check, shifts, scrub } of FILE_SYSTEMS) {
  t.test(
    `${name}: what is written under load is there at once, after a new attach, and for fsck`,
    async (t) => {
      const startedMs = performance.now();
      const disk = await newDisk(sectorSize, sizeBytes, undefined, true);
      const complaints = watchKernel();
      let { device } = await attached(t, disk, { discard: true });
      await ends(...mkfs, device);
      let dir = mount(device, '-o', 'discard');
      const said = await Promise.all([fio(dir), ...files('run', dir, shifts)]);
      for (const line of said.slice(1)) t.comment(line.replace('# ', '').trim());
      const before = sums(dir);
      t.equal(before.length, 3);
      t.comment(`discard: ${await freed(disk.path, dir, async () => {})}`);
      umount(dir);
      await detach(disk.path, false);

      ({ device } = await attached(t, disk, { discard: true }));
      await ends(...check, device);
      dir = mount(device);
      t.comment(`fstrim: ${await freed(disk.path, dir, () => ends('fstrim', dir))}`);
      t.same(sums(dir), before, 'the files of fio are the same');
      await Promise.all(files('judge', dir, shifts));
      if (scrub) await ends(...scrub, dir);
      umount(dir);
      await detach(disk.path, false);
      t.same(complaints(), [], 'the kernel saw no error');
      t.comment(`${Math.round(performance.now() - startedMs)} ms`);
    },
  );
}

t.test('at the end nothing of these attachments remains', (t) => nothingRemains(t));
