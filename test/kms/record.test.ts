import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { LocalKms } from '#sealdisk/kms/local/local-kms.js';
import { decodeRecord, type KeyRecord, openMaterial } from '#sealdisk/kms/local/record.js';
import { loadRootKey } from '#sealdisk/kms/local/root-key.js';
import { tempPool } from './pool.js';

async function recordsOf(t: Parameters<typeof tempPool>[0]) {
  const dir = join(await tempPool(t), 'kms');
  const kms = LocalKms.open(dir);
  await kms.createKey({ alias: 'alias/a' });
  await kms.createKey({ alias: 'alias/b' });
  await kms.rotateKey('alias/a');
  const root = await loadRootKey(dir);
  const read = async (alias: string): Promise<KeyRecord> => {
    const keyId = await kms.resolve(alias);
    const path = join(dir, 'keys', keyId);
    return decodeRecord(await readFile(path), keyId, root, path);
  };
  return { kms, root, read };
}

t.test('opens the material of each version, all different, in secure memory', async (t) => {
  const { root, read } = await recordsOf(t);
  const record = await read('alias/a');
  const [one, two] = [1, 2].map((version) => openMaterial(record, version, root, 'record'));
  t.equal(one?.length, 32);
  t.equal((one as { secure?: boolean }).secure, true);
  t.notOk(one?.equals(two as Buffer));
  t.equal(openMaterial(record, 3, root, 'record'), undefined);
});

t.test('refuses material that belongs to another version or another key', async (t) => {
  const { root, read } = await recordsOf(t);
  const record = await read('alias/a');
  const [one, two] = record.versions;
  const foreign = (await read('alias/b')).versions[0];
  for (const material of [two?.material, foreign?.material]) {
    const twisted = { ...record, versions: [{ ...one, material }] } as KeyRecord;
    t.throws(() => openMaterial(twisted, 1, root, 'record'), { code: 'KMS_STORE_ALTERED' });
  }
});

t.test('the generation grows by one with each write, and only then', async (t) => {
  const { kms, read } = await recordsOf(t);
  const { generation } = await read('alias/a');
  t.equal(generation, 2, 'made and rotated');
  await kms.disableKey('alias/a');
  await kms.disableKey('alias/a');
  t.equal((await read('alias/a')).generation, 3);
  await kms.generateDataKey('alias/b', 64, {});
  t.equal((await read('alias/b')).generation, 1);
});
