/**
 * The disk of a QEMU guest is an export: what its kernel writes through virtio-blk is what NBD clients on the host read,
 * and a key that goes away is to the guest a disk that takes its time.
 */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import t from 'tap';
import { rig, run, until } from '../cli/rig.js';
import { Guest } from './guest.js';

t.setTimeout(280_000);

const MIB = 1 << 20;
const NOISE_BYTES = 4 * MIB;
/** Where the guest's writer puts its records, in units of a record. */
const FIRST_RECORD = 1024;
const RECORD_BYTES = 4096;

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

const r = rig(t);
const server = await r.serve(await r.disk('bar'), '--socket', r.at('s'), '--key-check-interval', '500ms');
const startedMs = performance.now();
const guest = new Guest(t, server.uri);

/** The whole export, as nbdcopy reads it; the file that holds it. */
async function copied(name: string): Promise<string> {
  const { code, err } = await run('nbdcopy', [server.uri, r.at(name)]);
  if (code !== 0) throw new Error(err);
  return r.at(name);
}

await t.test('the guest boots and finds the disk with its size and block size', async (t) => {
  await guest.answer();
  t.comment(`it was up after ${Math.round(performance.now() - startedMs)} ms`);
  t.equal(await guest.run('cat /sys/block/vda/size'), `${(16 * MIB) / 512}`);
  t.equal(
    await guest.run('cat /sys/block/vda/queue/write_cache'),
    'write back',
    'it knows that it must flush',
  );
});

await t.test('what the guest writes it reads back, and nbdcopy reads the same', async (t) => {
  await guest.run(`head -c ${NOISE_BYTES} /dev/urandom >/tmp/noise`);
  await guest.run('dd if=/tmp/noise of=/dev/vda bs=64k conv=fsync 2>/dev/null');
  await guest.run('echo 3 >/proc/sys/vm/drop_caches');
  const [written] = (await guest.run('sha256sum </tmp/noise')).split(' ');
  const [read] = (await guest.run(`head -c ${NOISE_BYTES} /dev/vda | sha256sum`)).split(' ');
  t.match(written, /^[0-9a-f]{64}$/);
  t.equal(read, written);
  t.equal(sha256(readFileSync(await copied('copy')).subarray(0, NOISE_BYTES)), written);
});

await t.test('while the key is disabled the guest waits, and goes on after', async (t) => {
  const write = `dd of=/dev/vda bs=${RECORD_BYTES} seek=$((${FIRST_RECORD} + n)) count=1 iflag=fullblock conv=fsync`;
  const body = `yes "record $n" | ${write} 2>>/tmp/errors || break; echo $n >/tmp/done`;
  await guest.run(`echo 0 >/tmp/done; n=0; while [ ! -e /tmp/stop ]; do n=$((n + 1)); ${body}; done &`);
  const done = async () => Number(await guest.run('cat /tmp/done'));
  const advance = async () => {
    const goal = (await done()) + 5;
    await until(`record ${goal}`, async () => (await done()) >= goal);
  };
  await advance();

  await r.kms.disableKey('alias/bar');
  await server.event('key_lost');
  await until('its requests wait', async () => (await r.status()).parked > 0);
  const before = await done();
  t.match(await r.status(), { gate: 'hung', inFlight: 0 });
  await guest.run('head -c 1000000 /dev/urandom | sha256sum');
  t.equal(await done(), before, 'the guest itself lives on, its writer stands still');

  await r.kms.enableKey('alias/bar');
  await server.event('key_restored', 2);
  await advance();
  const last = await done();
  t.ok(last > before);
  await guest.run('touch /tmp/stop');
  t.equal(
    await guest.run('dmesg | grep -ciE "I/O error|blocked for more" || :'),
    '0',
    'its kernel saw no error',
  );

  const disk = readFileSync(await copied('records'));
  for (let n = 1; n <= last; n++) {
    const at = (FIRST_RECORD + n) * RECORD_BYTES;
    const wanted = Buffer.alloc(RECORD_BYTES, `record ${n}\n`);
    if (!wanted.equals(disk.subarray(at, at + RECORD_BYTES))) t.fail(`record ${n} of ${last} is not there`);
  }
  t.comment(`${last} records`);
});

await t.test(
  'a file system that the guest made is clean for e2fsck, its file the same for debugfs',
  async (t) => {
    await guest.run('mke2fs /dev/vda >/dev/null 2>&1 && mount -t ext4 /dev/vda /mnt');
    await guest.run('cp /tmp/noise /mnt/noise && mkdir /mnt/a && echo hello >/mnt/a/b && umount /mnt');
    const image = await copied('image');
    t.match(await run('e2fsck', ['-fn', image]), { code: 0 });
    t.match(await run('debugfs', ['-R', 'cat /a/b', image]), { out: 'hello\n' });
    await run('debugfs', ['-R', `dump /noise ${r.at('noise')}`, image]);
    t.equal(sha256(readFileSync(r.at('noise'))), (await guest.run('sha256sum </tmp/noise')).split(' ')[0]);
  },
);

await t.test('a guest that is turned off leaves the export as it was', async (t) => {
  t.equal(await guest.powerOff(), 0);
  t.match(await run('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', r.at('image'), server.uri]), {
    out: /identical/,
  });
  t.match(await server.stop(), { code: 0 });
});
