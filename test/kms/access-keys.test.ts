import { chmod, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { AccessKeys } from '#sealdisk/kms/local/access-keys.js';
import { tempPool } from './pool.js';

async function keysIn(t: Test) {
  const dir = join(await tempPool(t), 'kms');
  return { dir, keys: new AccessKeys(dir), others: new AccessKeys(dir) };
}

t.test('what one process makes or takes away binds the next call of another', async (t) => {
  const { keys, others } = await keysIn(t);
  const { info, accessKeySecret } = await keys.create({
    name: 'a',
    allow: [{ action: 'Decrypt', key: null }],
  });
  const found = await others.find(info.accessKeyId);
  t.equal(found?.secret.toString(), accessKeySecret);
  t.same(found?.allow, [{ action: 'Decrypt', key: null }]);
  t.equal(await others.find(info.accessKeyId), found, 'opened once while nothing changes');
  await keys.delete(info.accessKeyId);
  t.equal(await others.find(info.accessKeyId), undefined);
  await t.rejects(keys.delete(info.accessKeyId), { code: 'ACCESS_KEY_NOT_FOUND' });
});

t.test(
  'a secret lies in no file in the clear, is shown by no list, and is held in secure memory',
  async (t) => {
    const { dir, keys } = await keysIn(t);
    const { info, accessKeySecret } = await keys.create({ expiresAt: '2100-01-01T00:00:00.000Z' });
    for (const entry of await readdir(dir, { withFileTypes: true, recursive: true })) {
      if (!entry.isFile()) continue;
      const bytes = await readFile(join(entry.parentPath, entry.name));
      t.notOk(bytes.includes(accessKeySecret), entry.name);
      t.notOk(bytes.includes(Buffer.from(accessKeySecret).toString('base64')), entry.name);
    }
    t.same(await keys.list(), [info]);
    const found = (await keys.find(info.accessKeyId)) as
      | { secret: Buffer & { secure?: boolean } }
      | undefined;
    t.equal(found?.secret.secure, true);
  },
);

t.test('a file that was altered, renamed or swapped opens for nobody', async (t) => {
  const { dir, keys, others } = await keysIn(t);
  const [a, b] = [await keys.create({}), await keys.create({})];
  const [pathA, pathB] = [a, b].map(({ info }) => join(dir, 'access', info.accessKeyId)) as [string, string];
  await rename(pathB, pathA);
  await t.rejects(others.find(a.info.accessKeyId), { code: 'KMS_STORE_ALTERED' });
  t.equal(await others.find(b.info.accessKeyId), undefined);
  const box = await readFile(pathA);
  box[30] = (box[30] as number) ^ 1;
  await writeFile(pathA, box);
  await t.rejects(others.find(a.info.accessKeyId), { code: 'KMS_STORE_ALTERED' });
});

t.test('looks for no id that is none', async (t) => {
  const { keys } = await keysIn(t);
  await keys.create({});
  for (const id of ['', '..', '../root.key', 'SDAK', `SDAK${'A'.repeat(19)}/`, `SDAK${'a'.repeat(20)}`]) {
    t.equal(await keys.find(id), undefined, id);
    await t.rejects(keys.delete(id), { code: 'ACCESS_KEY_NOT_FOUND' });
  }
});

t.test('there are none where there is no KMS, and none are read where others may', async (t) => {
  const { dir, keys, others } = await keysIn(t);
  t.same(await keys.list(), []);
  const { info } = await keys.create({});
  await chmod(dir, 0o755);
  await t.rejects(others.find(info.accessKeyId), { code: 'KMS_STORE' });
});
