import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { flockSync } from 'fs-ext';
import t from 'tap';
import { Deadline } from '#sealdisk/kms/local/deadline.js';
import { LocalKms } from '#sealdisk/kms/local/local-kms.js';
import { withLock } from '#sealdisk/kms/local/lock.js';
import { tempPool, until } from './pool.js';

t.test('lets one change at a time', async (t) => {
  const dir = await tempPool(t);
  let inside = 0;
  const change = async () => {
    inside += 1;
    t.equal(inside, 1);
    await new Promise(setImmediate);
    inside -= 1;
  };
  await Promise.all(Array.from({ length: 20 }, () => withLock(dir, new Deadline(10_000, 'local:'), change)));
});

t.test('gives the lock back after a change that failed', async (t) => {
  const dir = await tempPool(t);
  await t.rejects(
    withLock(dir, new Deadline(1000, 'local:'), () => Promise.reject(new Error('no'))),
    { message: 'no' },
  );
  t.equal(await withLock(dir, new Deadline(1000, 'local:'), async () => 'in'), 'in');
});

t.test('a change waits for the lock until its deadline, and changes nothing after it', async (t) => {
  const dir = join(await tempPool(t), 'kms');
  const kms = LocalKms.open(dir);
  const { keyId } = await kms.createKey();
  const holder = await open(join(dir, 'lock'), 'r+');
  flockSync(holder.fd, 'exnb');
  await t.rejects(kms.disableKey(keyId, { timeoutMs: 80 }), { code: 'KMS_TIMEOUT' });
  t.equal((await kms.describeKey(keyId)).state, 'enabled', 'reading needs no lock');
  await holder.close();
  await kms.enableKey(keyId);
  t.equal((await kms.describeKey(keyId)).state, 'enabled');
});

t.test('a deadline disposes of a result that comes too late', async (t) => {
  const deadline = new Deadline(20, 'local:');
  const disposed: string[] = [];
  let finish = (_: string) => {};
  const work = () => new Promise<string>((resolve) => (finish = resolve));
  await t.rejects(
    deadline.bound(work, (late) => disposed.push(late)),
    { code: 'KMS_TIMEOUT' },
  );
  finish('secret');
  await until('the result is disposed of', () => disposed.length === 1);
  await t.rejects(
    deadline.bound(
      async () => t.fail('begun after the deadline'),
      () => undefined,
    ),
    { code: 'KMS_TIMEOUT' },
  );
});
