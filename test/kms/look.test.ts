/** A look at a key sees whatever a read would see, however the change came about, and else does not read. */

import { chmod, copyFile, readFile, rename, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { LocalKms } from '#sealdisk/kms/local/local-kms.js';
import { KeyLook } from '#sealdisk/kms/local/look.js';
import { tempPool } from './pool.js';

async function looked(t: Test) {
  const dir = join(await tempPool(t), 'kms');
  const kms = LocalKms.open(dir);
  const { keyId } = await kms.createKey({ alias: 'alias/a' });
  const path = join(dir, 'keys', keyId);
  const other = LocalKms.open(dir); // as another process
  const state = async () => (await kms.stateOf(keyId)).state;
  t.equal(await state(), 'enabled');
  t.equal(await state(), 'enabled');
  return { dir, keyId, path, other, state };
}

t.test('every change of another process is seen at the next look, and the way back', async (t) => {
  const { keyId, other, state } = await looked(t);
  for (let i = 0; i < 20; i++) {
    await other.disableKey(keyId);
    t.equal(await state(), 'disabled');
    await other.enableKey(keyId);
    t.equal(await state(), 'enabled');
  }
  await other.scheduleDeletion(keyId);
  t.equal(await state(), 'pendingDeletion');
});

t.test(
  'a record that is put in the place of another keeps no secret by its length, times or inode',
  async (t) => {
    const { keyId, path, other, state } = await looked(t);
    const enabled = await readFile(path);
    const { atime, mtime } = await stat(path);
    await other.disableKey(keyId);
    const disabled = await readFile(path);
    await other.enableKey(keyId);
    await writeFile(path, enabled);
    t.equal(await state(), 'enabled');
    await writeFile(path, disabled); // in place: the same inode
    await utimes(path, atime, mtime);
    t.equal(await state(), 'disabled');
    await copyFile(path, `${path}.x`);
    await writeFile(path, enabled);
    await utimes(path, atime, mtime);
    t.equal(await state(), 'enabled');
    await rename(`${path}.x`, path);
    t.equal(await state(), 'disabled');
  },
);

t.test('what a read would refuse is refused, and forgotten when it is over', async (t) => {
  const { dir, path, state } = await looked(t);
  const root = join(dir, 'root.key');
  const away = async (file: string, code: string) => {
    await rename(file, `${dir}.away`);
    await t.rejects(state(), { code });
    await rename(`${dir}.away`, file);
    t.equal(await state(), 'enabled');
  };
  await away(root, 'KMS_CONNECTION');
  await away(join(dir, 'keys'), 'KMS_CONNECTION');
  await away(path, 'KMS_KEY_NOT_FOUND');
  await away(dir, 'KMS_CONNECTION');
  await chmod(dir, 0o755);
  await t.rejects(state(), { code: 'KMS_STORE' });
  await chmod(dir, 0o700);
  await writeFile(root, Buffer.alloc(32)); // another key in the same file
  await t.rejects(state(), { code: 'KMS_STORE_ALTERED' });
});

t.test('what has not changed is not read again, what fails is', async (t) => {
  const { dir, keyId, other } = await looked(t);
  const look = new KeyLook<number>(dir, keyId);
  let reads = 0;
  const read = async () => ++reads;
  t.same([await look.at(read), await look.at(read), await look.at(read)], [1, 1, 1]);
  await other.disableKey(keyId);
  t.equal(await look.at(read), 2);
  await other.enableKey(keyId);
  await t.rejects(
    look.at(() => Promise.reject(new Error('no'))),
    { message: 'no' },
  );
  t.same([await look.at(read), await look.at(read)], [3, 3]);
  const gone = new KeyLook<number>(join(dir, 'gone'), keyId);
  t.same([await gone.at(read), await gone.at(read)], [4, 5], 'what cannot be looked at is read');
});

t.test('a change between the look and the read is another change at the next look', async (t) => {
  const { dir, keyId, other } = await looked(t);
  const look = new KeyLook<string>(dir, keyId);
  const stateOf = async () => (await other.describeKey(keyId)).state;
  const before = await look.at(async () => {
    const state = await stateOf();
    await other.disableKey(keyId);
    return state;
  });
  t.same([before, await look.at(stateOf)], ['enabled', 'disabled']);
});
