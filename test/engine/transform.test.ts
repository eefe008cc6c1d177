// src/engine/transform.ts: bulk work as the rooms above begin it. What it does to bytes: native/test/convert_transform.cc.

import { randomBytes } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { engine } from '#sealdisk/engine/engine.js';
import { type Place, transform } from '#sealdisk/engine/transform.js';
import { sealed } from './xts.js';

const SECTOR = 4096;
const OFFSET = 8192;

function place(t: Test, path: string, offsetBytes: number, secret?: Buffer): Place {
  const fd = openSync(path, 'r+');
  t.teardown(() => closeSync(fd));
  const base = { path, fd, offsetBytes: BigInt(offsetBytes), sectorSize: 4096 } as const;
  return secret ? { ...base, key: engine().takeDataKey(Buffer.from(secret)) } : base;
}

t.test('a plain file goes under a key, is compared, and goes under another where it lies', async (t) => {
  const dir = t.testdir({ disk: '' });
  const plain = randomBytes(3 << 20);
  const [one, two] = [randomBytes(64), randomBytes(64)];
  writeFileSync(join(dir, 'plain'), plain);
  const from = place(t, join(dir, 'plain'), 0);
  const under = (secret: Buffer) => place(t, join(dir, 'disk'), OFFSET, secret);
  const range = { beginBytes: 0n, sizeBytes: BigInt(plain.length) };
  const work = transform({ work: 'copy', from, to: under(one), ...range });
  await work.done;
  t.equal(work.progress(), range.sizeBytes);
  const payload = () => readFileSync(join(dir, 'disk')).subarray(OFFSET);
  t.ok(payload().equals(sealed(plain, one)));
  await transform({ work: 'compare', from, to: under(one), ...range }).done;
  await transform({ work: 'copy', from: under(one), to: under(two), ...range }).done;
  t.ok(payload().equals(sealed(plain, two)));
  await t.rejects(transform({ work: 'compare', from, to: under(one), ...range }).done, {
    code: 'CONVERT_DIFFERS',
    facts: { atBytes: 0n },
  });
});

t.test('a failure names the side, the errno and the place; cancelled is cancelled', async (t) => {
  const dir = t.testdir({ plain: '', disk: '' });
  const from = place(t, join(dir, 'plain'), 0);
  const to = place(t, join(dir, 'disk'), OFFSET, randomBytes(64));
  ftruncateSync(from.fd, 10 * SECTOR);
  const copy = (sizeBytes: bigint) => transform({ work: 'copy', from, to, beginBytes: 0n, sizeBytes });
  await t.rejects(copy(11n * 4096n).done, { code: 'DISK_IO', message: /plain: EIO \(reading at byte 0/ });
  ftruncateSync(from.fd, 1 << 30);
  const work = copy(1n << 30n);
  work.cancel();
  await t.rejects(work.done, { code: 'CONVERT_CANCELLED' });
  t.throws(() => copy(100n), /whole sectors/);
  to.key?.wipe();
  t.throws(() => copy(4096n), /wiped/);
});
