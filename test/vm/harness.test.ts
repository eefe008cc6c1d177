/** The guest that scripts/vm boots has what the other tests of this folder rely on. */

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import t from 'tap';

const run = (command: string, ...args: string[]): string => execFileSync(command, args, { encoding: 'utf8' });
const scratch = process.env.VM_SCRATCH ?? '';

t.test('scratch is a real file system of its own, which O_DIRECT and flock work on', async (t) => {
  t.equal(run('findmnt', '-no', 'FSTYPE', '-T', scratch).trim(), 'ext4');
  t.equal(process.env.TMPDIR, `${scratch}/tmp`);
  run('dd', 'if=/dev/zero', `of=${scratch}/direct`, 'oflag=direct', 'bs=4096', 'count=1', 'status=none');
  run('flock', '-n', `${scratch}/direct`, 'true');
});

t.test('/run is its own, so that attachments of two guests never meet', async (t) => {
  t.equal(run('findmnt', '-no', 'FSTYPE', '/run').trim(), 'tmpfs');
});

t.test('nbd is loaded and plain modprobe brings dm-crypt with the ciphers it needs', async (t) => {
  t.match(readFileSync('/proc/modules', 'utf8'), /^nbd /m);
  run('modprobe', 'dm-crypt');
  t.match(readFileSync('/proc/crypto', 'utf8'), /xts|ecb/);
});

t.test('a program sees pipes, not a terminal, and the loopback interface is up', async (t) => {
  t.notOk(process.stdout.isTTY);
  t.match(run('ip', '-br', 'address', 'show', 'lo'), /127\.0\.0\.1/);
});
