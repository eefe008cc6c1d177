import { chmod, copyFile, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { fileOf } from '#sealdisk/kms/local/alias.js';
import { LocalKms } from '#sealdisk/kms/local/local-kms.js';
import { tempPool } from './pool.js';

async function twoKeys(t: Test): Promise<{ kms: LocalKms; dir: string; a: string; b: string }> {
  const dir = join(await tempPool(t), 'kms');
  const kms = LocalKms.open(dir);
  const { keyId: a } = await kms.createKey({ alias: 'alias/a' });
  const { keyId: b } = await kms.createKey({ alias: 'alias/b' });
  return { kms, dir, a: join(dir, 'keys', a), b: join(dir, 'keys', b) };
}

t.test('refuses a record with any byte altered, or cut short', async (t) => {
  const { kms, a } = await twoKeys(t);
  const whole = await readFile(a);
  for (let at = 0; at < whole.length; at += 7) {
    const altered = Buffer.from(whole);
    altered[at] = (altered[at] as number) ^ 0x01;
    await writeFile(a, altered);
    const code = await kms.describeKey('alias/a').catch((error: { code: string }) => error.code);
    if (code !== 'KMS_STORE_ALTERED') t.fail(`byte ${at}: ${JSON.stringify(code)}`);
  }
  for (const sizeBytes of [0, 1, 39, 40, 41, whole.length - 1]) {
    await writeFile(a, whole.subarray(0, sizeBytes));
    await t.rejects(kms.describeKey('alias/a'), { code: 'KMS_STORE_ALTERED' }, `${sizeBytes} bytes`);
  }
  await writeFile(a, whole);
  t.equal((await kms.describeKey('alias/a')).state, 'enabled');
});

t.test('refuses an alias with any byte altered, and one under the name of another', async (t) => {
  const { kms, dir } = await twoKeys(t);
  const [path, other] = ['alias/a', 'alias/b'].map((alias) => join(dir, 'aliases', fileOf(alias))) as [
    string,
    string,
  ];
  const whole = await readFile(path);
  for (let at = 0; at < whole.length; at += 7) {
    const altered = Buffer.from(whole);
    altered[at] = (altered[at] as number) ^ 0x01;
    await writeFile(path, altered);
    const code = await kms.describeKey('alias/a').catch((error: { code: string }) => error.code);
    if (code !== 'KMS_STORE_ALTERED') t.fail(`byte ${at}: ${JSON.stringify(code)}`);
  }
  await copyFile(other, path);
  await t.rejects(kms.describeKey('alias/a'), { code: 'KMS_STORE_ALTERED' });
  await rename(join(dir, 'aliases'), join(dir, 'away'));
  await t.rejects(kms.describeKey('alias/a'), { code: 'KMS_CONNECTION' }, 'and no alias without the folder');
});

t.test('refuses two records that were swapped', async (t) => {
  const { kms, a, b } = await twoKeys(t);
  await rename(a, `${a}.away`);
  await rename(b, a);
  await rename(`${a}.away`, b);
  for (const alias of ['alias/a', 'alias/b'])
    await t.rejects(kms.describeKey(alias), { code: 'KMS_STORE_ALTERED' });
});

t.test('refuses a record under another name', async (t) => {
  const { kms, dir, a } = await twoKeys(t);
  const elsewhere = '00000000-0000-4000-8000-000000000000';
  await copyFile(a, join(dir, 'keys', elsewhere));
  await t.rejects(kms.describeKey(elsewhere), { code: 'KMS_STORE_ALTERED' });
  await t.rejects(kms.listKeys(), { code: 'KMS_STORE_ALTERED' });
});

t.test('refuses records under the root key of another store', async (t) => {
  const [ours, other] = [await twoKeys(t), await twoKeys(t)];
  await copyFile(join(other.dir, 'root.key'), join(ours.dir, 'root.key'));
  await t.rejects(ours.kms.describeKey('alias/a'), { code: 'KMS_STORE_ALTERED' });
});

t.test('refuses a folder that others may enter', async (t) => {
  const { kms, dir } = await twoKeys(t);
  await chmod(dir, 0o750);
  const refusal = { code: 'KMS_STORE', message: /mode is 750, expected 700/ };
  await t.rejects(kms.describeKey('alias/a'), refusal);
  await t.rejects(kms.disableKey('alias/a'), refusal);
  await t.rejects(kms.createKey(), refusal);
});

t.test('sweeps away what killed writers left aside', async (t) => {
  const { kms, dir } = await twoKeys(t);
  for (const path of [join(dir, 'aside', 'keys.x.new'), join(dir, 'root.key.new')])
    await writeFile(path, 'half');
  t.equal((await kms.disableKey('alias/a')).state, 'disabled');
  t.same(await readdir(join(dir, 'aside')), []);
  t.notOk((await readdir(dir)).includes('root.key.new'));
});
