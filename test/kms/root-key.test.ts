import { chmod, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { LocalKms } from '#sealdisk/kms/local/local-kms.js';
import { loadRootKey, makeRootKey } from '#sealdisk/kms/local/root-key.js';
import { tempPool } from './pool.js';

t.test('makes 32 bytes, another time others, and loads them into secure memory', async (t) => {
  const [a, b] = [await tempPool(t), await tempPool(t)];
  await makeRootKey(a);
  await makeRootKey(b);
  const key = await loadRootKey(a);
  t.equal(key.length, 32);
  t.equal((key as { secure?: boolean }).secure, true);
  t.ok(key.equals(await loadRootKey(a)));
  t.notOk(key.equals(await loadRootKey(b)));
});

t.test('refuses a root key that others may read', async (t) => {
  const dir = await tempPool(t);
  await makeRootKey(dir);
  for (const mode of [0o640, 0o604, 0o620]) {
    await chmod(join(dir, 'root.key'), mode);
    await t.rejects(loadRootKey(dir), { code: 'KMS_STORE', message: /expected 600/ }, mode.toString(8));
  }
});

t.test('refuses a root key of another length', async (t) => {
  const dir = await tempPool(t);
  await makeRootKey(dir);
  for (const sizeBytes of [0, 31, 33]) {
    await truncate(join(dir, 'root.key'), sizeBytes);
    await t.rejects(loadRootKey(dir), { code: 'KMS_STORE', message: /expected 32/ }, `${sizeBytes} bytes`);
  }
});

t.test('refuses a root key that is a link', async (t) => {
  const dir = await tempPool(t);
  await makeRootKey(dir);
  await rename(join(dir, 'root.key'), join(dir, 'elsewhere'));
  await symlink('elsewhere', join(dir, 'root.key'));
  await t.rejects(loadRootKey(dir), { code: 'ELOOP' });
});

t.test('never makes a new root key beside records that another one sealed', async (t) => {
  const dir = join(await tempPool(t), 'kms');
  const kms = LocalKms.open(dir);
  await kms.createKey();
  await rm(join(dir, 'root.key'));
  await t.rejects(kms.createKey(), { code: 'KMS_STORE', message: /root.key is missing/ });
  await t.rejects(kms.describeKey('alias/acs/ecs'), { code: 'KMS_STORE', message: /root.key is missing/ });
});

t.test('makes a root key where a killed process had left half of one aside', async (t) => {
  const dir = join(await tempPool(t), 'kms');
  const kms = LocalKms.open(dir);
  await kms.createKey();
  await rm(join(dir, 'keys'), { recursive: true });
  await rm(join(dir, 'root.key'));
  await writeFile(join(dir, 'root.key.new'), 'half');
  await kms.createKey();
  t.equal((await loadRootKey(dir)).length, 32);
});
