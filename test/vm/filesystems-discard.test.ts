/**
 * What a file system on a disk with holes frees becomes a hole of the backing file, by a mount with discard and by fstrim;
 * and what it keeps reads the same, at once and after a new attach.
 */

import { statSync } from 'node:fs';
import t from 'tap';
import { detach } from '#sealdisk/attach/attachments.js';
import { ends, FILE_SYSTEMS, MIB } from './file-systems.js';
import { attached, mount, newDisk, nothingRemains, sha256, umount, until } from './rig.js';

/** How much of a file is on its disk. */
const allocatedBytes = (path: string) => statSync(path).blocks * 512;

for (const { name, sizeBytes, sectorSize, mkfs, check } of FILE_SYSTEMS) {
  t.test(`${name}: what fstrim and a mount with discard free is a hole, and the rest is there`, async (t) => {
    const disk = await newDisk(sectorSize, sizeBytes, undefined, true);
    let { device } = await attached(t, disk, { discard: true });
    await ends(...mkfs, device);
    const dir = mount(device, '-o', 'discard');
    const noise = (file: string, mib: number) =>
      ends(
        'dd',
        'if=/dev/urandom',
        `of=${dir}/${file}`,
        'bs=1M',
        `count=${mib}`,
        'conv=fsync',
        'status=none',
      );
    await noise('kept', 4);
    const kept = sha256(`${dir}/kept`);

    await t.test('a deleted file, while the file system is mounted with discard', async (t) => {
      await noise('deleted', 12);
      const full = allocatedBytes(disk.path);
      await ends('rm', `${dir}/deleted`);
      await ends('sync', '-f', dir);
      await until('the holes', () => allocatedBytes(disk.path) < full - 10 * Number(MIB));
      t.comment(`${full} bytes on the disk, ${allocatedBytes(disk.path)} after`);
    });

    await t.test('everything free, by fstrim', async (t) => {
      await ends('mount', '-o', 'remount,nodiscard', dir);
      await noise('deleted', 12);
      const full = allocatedBytes(disk.path);
      await ends('rm', `${dir}/deleted`);
      await ends('sync', '-f', dir);
      await ends('fstrim', dir);
      await until('the holes', () => allocatedBytes(disk.path) < full - 10 * Number(MIB));
      t.comment(`${full} bytes on the disk, ${allocatedBytes(disk.path)} after`);
    });

    umount(dir);
    await detach(disk.path, false);
    ({ device } = await attached(t, disk, { discard: true }));
    await ends(...check, device);
    mount(device);
    t.equal(sha256(`${dir}/kept`), kept, 'what was kept is the same after a new attach');
    umount(dir);
    await detach(disk.path, false);
  });
}

t.test('at the end nothing of these attachments remains', (t) => nothingRemains(t));
