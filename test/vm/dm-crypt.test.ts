/** No lock-in: dm-crypt reads what sealdisk wrote, sealdisk serves what dm-crypt wrote, a recovery passphrase opens both. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import {
  attached,
  fsck,
  mount,
  mountNew,
  newDisk,
  nothingRemains,
  poolDir,
  run,
  sealdisk,
  sha256,
  umount,
} from './rig.js';

const NAME = 'sealdisk-test';
const MAPPED = `/dev/mapper/${NAME}`;
const PBKDF = ['--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000'];

run('modprobe', 'dm-crypt');

/** A file of noise; its checksum. */
function writeNoise(path: string): string {
  run('dd', 'if=/dev/urandom', `of=${path}`, 'bs=1M', 'count=6', 'conv=fsync', 'status=none');
  return sha256(path);
}

for (const sectorSize of [512, 4096] as const) {
  t.test(`sectors of ${sectorSize} bytes, both ways`, async (t) => {
    const disk = await newDisk(sectorSize);
    const keyFile = join(poolDir, `data-${sectorSize}.key`);
    const sums = { ours: '', theirs: '' };

    await t.test('sealdisk writes a file system', async (t) => {
      const { device } = await attached(t, disk);
      t.equal(run('blockdev', '--getss', device).trim(), `${sectorSize}`);
      const dir = mountNew(device);
      sums.ours = writeNoise(`${dir}/ours`);
      umount(dir);
    });

    await t.test('dm-crypt reads it with the exported data key, and writes', async (t) => {
      t.equal(sealdisk('export-data-key', disk.path, '--out', keyFile, '--yes').code, 0);
      const volumeKey = ['--key-size', '512', '--volume-key-file', keyFile];
      run('cryptsetup', 'open', '--type', 'luks2', ...volumeKey, disk.path, NAME);
      t.teardown(() => run('cryptsetup', 'close', NAME));
      fsck(MAPPED);
      const dir = mount(MAPPED);
      t.equal(sha256(`${dir}/ours`), sums.ours);
      sums.theirs = writeNoise(`${dir}/theirs`);
      umount(dir);
    });

    // The keyslot knows nothing of sectors: once is enough.
    const once = { skip: sectorSize === 512 && 'with the other sector size' };
    await t.test('a recovery passphrase that luksAddKey adds opens it', once, async (t) => {
      const passphrase = join(poolDir, 'passphrase');
      writeFileSync(passphrase, 'correct horse battery staple');
      const volumeKey = ['--key-size', '512', '--volume-key-file', keyFile];
      run('cryptsetup', 'luksAddKey', '-q', ...PBKDF, ...volumeKey, disk.path, passphrase);
      run('cryptsetup', 'open', '--key-file', passphrase, disk.path, NAME);
      t.teardown(() => run('cryptsetup', 'close', NAME));
      const dir = mount(MAPPED, '-o', 'ro');
      t.equal(sha256(`${dir}/theirs`), sums.theirs);
      umount(dir);
    });

    await t.test('and sealdisk serves what dm-crypt wrote', async (t) => {
      const { device } = await attached(t, disk);
      fsck(device);
      const dir = mount(device, '-o', 'ro');
      t.equal(sha256(`${dir}/ours`), sums.ours);
      t.equal(sha256(`${dir}/theirs`), sums.theirs);
      umount(dir);
    });
  });
}

t.test('at the end nothing of these attachments remains', (t) => nothingRemains(t));
