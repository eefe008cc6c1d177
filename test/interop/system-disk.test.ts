/**
 * The disk of a whole system becomes an encrypted one, as a cloud's users do it: image of the plain disk, encrypted copy, disk
 * from it. A QEMU guest boots from that over NBD: boot sector, GRUB, kernel and all that it runs come out of the encrypted disk.
 */

import { execFile, execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { rig, run } from '../cli/rig.js';
import { CONSOLE, MACHINE } from './guest.js';

t.setTimeout(280_000);

const MIB = 1024 * 1024;
const SECTOR_BYTES = 512;
const BOOT_CODE_BYTES = 440;
const NOTE_AT = 33 * MIB;
const DISK_BYTES = 34 * MIB;
const GUEST_TIMEOUT_MS = 200_000;

const GRUB = '/usr/lib/grub/i386-pc';
const GRUB_CONFIG = `set root=(hd0,msdos1)
linux /vmlinuz console=ttyS0 quiet panic=-1
initrd /initrd
boot
`;

const r = rig(t);
const { at, json } = r;

/** An MBR, GRUB behind it, an ext2 with kernel and initramfs, and a partition with the note. */
function makeSystemDisk(path: string, note: string): void {
  const disk = Buffer.alloc(DISK_BYTES);
  writeFileSync(path, disk);
  execFileSync('sfdisk', ['-q', path], { input: '2048,65536,83\n67584,2048,83\n' });
  mkdirSync(at('boot'));
  copyFileSync('build/qemu-guest/vmlinuz', at('boot/vmlinuz'));
  writeFileSync(at('boot/initrd'), initramfs());
  const fs = ['-q', '-t', 'ext2', '-d', at('boot'), '-E', `offset=${MIB},root_owner=0:0`, path, '32M'];
  execFileSync('mke2fs', fs, { stdio: 'pipe' });
  writeFileSync(at('early.cfg'), GRUB_CONFIG);
  const modules = ['biosdisk', 'part_msdos', 'ext2', 'linux', 'boot'];
  const core = ['-O', 'i386-pc', '-o', at('core'), '-p', '/', '-c', at('early.cfg'), ...modules];
  execFileSync('grub-mkimage', core, { stdio: 'pipe' });
  const made = readFileSync(path);
  readFileSync(`${GRUB}/boot.img`).copy(made, 0, 0, BOOT_CODE_BYTES);
  readFileSync(at('core')).copy(made, SECTOR_BYTES);
  made.write(`${note}\n`, NOTE_AT);
  writeFileSync(path, made);
}

/** That of the other guests, and an init that comes after its own in the same archive. */
function initramfs(): Buffer {
  mkdirSync(at('root'));
  copyFileSync('scripts/qemu-guest.d/system-init', at('root/init'));
  const options = { cwd: at('root'), input: 'init\n', stdio: 'pipe' } as const;
  const init = execFileSync('busybox', ['cpio', '-o', '-H', 'newc'], options);
  const first = readFileSync('build/qemu-guest/initramfs');
  // The kernel looks for another archive at multiples of four, and passes over zeros.
  return Buffer.concat([first, Buffer.alloc(3 - ((first.length + 3) % 4)), init]);
}

/** Boots from the export; what was said on the serial line until the machine was turned off. */
function boot(uri: string): Promise<string> {
  const disk = ['-drive', `file=${uri},format=raw,if=none,id=disk`, '-device', 'virtio-blk-pci,drive=disk'];
  const words = [...MACHINE, ...CONSOLE, ...disk];
  return new Promise((resolve, reject) => {
    const child = execFile(
      'qemu-system-x86_64',
      words,
      { timeout: GUEST_TIMEOUT_MS, killSignal: 'SIGKILL' },
      (error, out) => (error ? reject(new Error(`${error.message}: ${out}`)) : resolve(out)),
    );
    child.stdin?.end();
  });
}

t.test('a system that was installed on a plain disk boots from its encrypted copy', async (t) => {
  const note = `note ${randomBytes(12).toString('hex')}`;
  makeSystemDisk(at('system.raw'), note);
  await json('key', 'create', '--alias', 'bar');
  await json('import', at('system.raw'), '--name', 'old');
  await json('image', 'create', 'old', '--name', 'golden');
  await json('image', 'copy', 'golden', '--name', 'sealed', '--key', 'alias/bar');
  const { path } = await json('create', 'vm', '--from', 'sealed', '--tag', 'role=system');
  t.notOk(readFileSync(path).includes(note), 'the note lies there enciphered');
  const server = await r.serve('vm', '--socket', at('s'));
  const beganMs = performance.now();
  const said = await boot(server.uri);
  t.match(said, `the disk says: ${note}`);
  t.comment(`the guest was up and down in ${Math.round(performance.now() - beganMs)} ms`);
  const copied = await run('nbdcopy', [server.uri, at('after')]);
  t.equal(copied.code, 0);
  t.match(await server.stop(), { code: 0 });
  const written = readFileSync(at('after')).subarray(NOTE_AT + 4096);
  t.equal(written.subarray(0, written.indexOf('\n')).toString(), `up: ${note}`, 'what it wrote is there');
  t.notOk(readFileSync(path).includes(`up: ${note}`), 'enciphered, too');
});
