/** Material that its owner brings, and the time of keys: what is gone or over is so at once, by the clock. */

import { constants, createPublicKey, publicEncrypt, randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { IMPORT_ALGORITHMS, type ImportAlgorithm } from '#sealdisk/kms/local/import.js';
import { LocalKms } from '#sealdisk/kms/local/local-kms.js';
import { later, tempPool } from './pool.js';

const CHOICE = { algorithm: 'RSAES_OAEP_SHA_256', spec: 'RSA_2048' } as const;
const DAY_MS = 86_400_000;

async function external(t: Test) {
  const dir = join(await tempPool(t), 'kms');
  const kms = LocalKms.open(dir);
  const { keyId, state } = await kms.createKey({ alias: 'alias/x', origin: 'external' });
  t.equal(state, 'pendingImport');
  return { kms, dir, keyId };
}

/** The material as its owner sends it. */
async function wrap(
  kms: LocalKms,
  ref: string,
  material: Buffer,
  algorithm: ImportAlgorithm = CHOICE.algorithm,
) {
  const { publicKey, importToken } = await kms.importParameters(ref, { ...CHOICE, algorithm });
  const key = createPublicKey({ key: publicKey, format: 'der', type: 'spki' });
  const oaepHash = algorithm === 'RSAES_OAEP_SHA_1' ? 'sha1' : 'sha256';
  const wrapped = publicEncrypt({ key, oaepHash, padding: constants.RSA_PKCS1_OAEP_PADDING }, material);
  return { importToken, wrapped, expiresAt: null };
}

t.test('wraps with imported material, under either algorithm, and takes only the same again', async (t) => {
  for (const algorithm of IMPORT_ALGORITHMS) {
    const { kms } = await external(t);
    const material = randomBytes(32);
    await t.rejects(kms.generateDataKey('alias/x', 64, {}), { code: 'KMS_KEY_PENDING_IMPORT' });
    t.equal(
      (await kms.importMaterial('alias/x', await wrap(kms, 'alias/x', material, algorithm))).state,
      'enabled',
    );
    const made = await kms.generateDataKey('alias/x', 64, {});
    t.equal((await kms.deleteMaterial('alias/x')).state, 'pendingImport');
    await t.rejects(kms.decrypt(made.ciphertext, {}), { code: 'KMS_KEY_PENDING_IMPORT' });
    const other = await wrap(kms, 'alias/x', randomBytes(32), algorithm);
    await t.rejects(kms.importMaterial('alias/x', other), {
      code: 'KMS_IMPORT_MATERIAL',
      message: /not the material/,
    });
    t.equal((await kms.describeKey('alias/x')).state, 'pendingImport');
    await kms.importMaterial('alias/x', await wrap(kms, 'alias/x', material, algorithm));
    t.ok((await kms.decrypt(made.ciphertext, {})).plaintext.equals(made.plaintext));
  }
});

t.test('refuses what is no material, or no token of this key', async (t) => {
  const { kms } = await external(t);
  await kms.createKey({ alias: 'alias/y', origin: 'external' });
  await kms.createKey({ alias: 'alias/here' });
  const given = await wrap(kms, 'alias/x', randomBytes(32));
  await t.rejects(kms.importMaterial('alias/y', given), { code: 'KMS_IMPORT_TOKEN' });
  const cut = { ...given, importToken: given.importToken.subarray(0, 60) };
  await t.rejects(kms.importMaterial('alias/x', cut), { code: 'KMS_IMPORT_TOKEN' });
  const garbage = { ...given, wrapped: randomBytes(256) };
  await t.rejects(kms.importMaterial('alias/x', garbage), { code: 'KMS_IMPORT_MATERIAL' });
  const short = await wrap(kms, 'alias/x', randomBytes(16));
  await t.rejects(kms.importMaterial('alias/x', short), {
    code: 'KMS_IMPORT_MATERIAL',
    message: /16 bytes, expected 32/,
  });
  const kind = { code: 'KMS_KEY_KIND', message: /its material was made here/ };
  await t.rejects(kms.importParameters('alias/here', CHOICE), kind);
  await t.rejects(kms.deleteMaterial('alias/here'), kind);
  await t.rejects(kms.rotateKey('alias/x'), { code: 'KMS_KEY_KIND', message: /its material is imported/ });
  await t.rejects(kms.createKey({ origin: 'external', spec: 'RSA_2048' }), { code: 'KMS_UNSUPPORTED_KEY' });
  await t.rejects(kms.createKey({ origin: 'external', rotationDays: 9 }), { code: 'KMS_KEY_KIND' });
  later(t, DAY_MS + 1000);
  await t.rejects(kms.importMaterial('alias/x', given), { code: 'KMS_IMPORT_EXPIRED' });
});

t.test('material ends at its time, and the same comes back', async (t) => {
  const { kms } = await external(t);
  const material = randomBytes(32);
  const expiresAt = new Date(Date.now() + DAY_MS).toISOString();
  const given = { ...(await wrap(kms, 'alias/x', material)), expiresAt };
  t.equal((await kms.importMaterial('alias/x', given)).materialExpiresAt, expiresAt);
  const { plaintext, ciphertext, keyId } = await kms.generateDataKey('alias/x', 64, {});
  t.equal((await kms.stateOf(keyId)).state, 'enabled');
  later(t, DAY_MS);
  t.equal((await kms.stateOf(keyId)).state, 'pendingImport', 'also for who looked before');
  await t.rejects(kms.decrypt(ciphertext, {}), { code: 'KMS_KEY_PENDING_IMPORT' });
  await t.rejects(kms.importMaterial('alias/x', given), { code: 'USAGE' }, 'its end is over');
  await kms.importMaterial('alias/x', await wrap(kms, 'alias/x', material));
  t.ok((await kms.decrypt(ciphertext, {})).plaintext.equals(plaintext));
});

t.test(
  'material that comes back enables its key, whatever it was before; over other material it does not',
  async (t) => {
    const { kms } = await external(t);
    const material = randomBytes(32);
    const expiresAt = new Date(Date.now() + DAY_MS).toISOString();
    await kms.importMaterial('alias/x', await wrap(kms, 'alias/x', material));
    await kms.disableKey('alias/x');
    const again = { ...(await wrap(kms, 'alias/x', material)), expiresAt };
    t.equal(
      (await kms.importMaterial('alias/x', again)).state,
      'disabled',
      'it was there: only its time changes',
    );
    await kms.deleteMaterial('alias/x');
    t.equal((await kms.importMaterial('alias/x', again)).state, 'enabled', 'after it was deleted');
    await kms.disableKey('alias/x');
    later(t, DAY_MS);
    t.equal((await kms.describeKey('alias/x')).state, 'pendingImport');
    const back = await kms.importMaterial('alias/x', await wrap(kms, 'alias/x', material));
    t.equal(back.state, 'enabled', 'after its time');
  },
);

t.test('a key is gone at its deletion date, and destroyed by the next change that meets it', async (t) => {
  const { kms, dir, keyId } = await external(t);
  await kms.scheduleDeletion(keyId, 7);
  t.equal((await kms.stateOf(keyId)).state, 'pendingDeletion');
  later(t, 7 * DAY_MS);
  await t.rejects(kms.stateOf(keyId), { code: 'KMS_KEY_NOT_FOUND' });
  await t.rejects(kms.describeKey('alias/x'), { code: 'KMS_KEY_NOT_FOUND' });
  t.same((await kms.listKeys()).keys, []);
  await t.rejects(kms.cancelDeletion(keyId), { code: 'KMS_KEY_NOT_FOUND' }, 'there is nothing to keep');
  t.same([await readdir(join(dir, 'keys')), await readdir(join(dir, 'aliases'))], [[], []]);
  t.equal((await kms.createKey({ alias: 'alias/x' })).state, 'enabled', 'and its name is free');
});

t.test('the name of a key that is gone is free, and taking it destroys the key', async (t) => {
  const { kms, dir, keyId } = await external(t);
  await kms.scheduleDeletion(keyId, 7);
  await t.rejects(kms.createKey({ alias: 'alias/x' }), { code: 'KMS_ALIAS_TAKEN' }, 'not before its date');
  later(t, 7 * DAY_MS);
  const made = await kms.createKey({ alias: 'alias/x' });
  t.same(await readdir(join(dir, 'keys')), [made.keyId]);
  t.equal(await kms.resolve('alias/x'), made.keyId);
});

t.test('a protected key is deleted only when the protection is taken away', async (t) => {
  const { kms, keyId } = await external(t);
  t.equal((await kms.setDeletionProtection(keyId, true)).deletionProtection, true);
  await t.rejects(kms.scheduleDeletion(keyId, 7), { code: 'KMS_PROTECTED' });
  await kms.setDeletionProtection(keyId, false);
  t.equal((await kms.scheduleDeletion(keyId, 7)).state, 'pendingDeletion');
});

t.test('rotates at the first use after each period', async (t) => {
  const { kms } = await external(t);
  const { keyId } = await kms.createKey({ rotationDays: 30 });
  const [before] = [await kms.generateDataKey(keyId, 64, {})];
  later(t, 31 * DAY_MS);
  const many = await Promise.all([1, 2, 3].map(() => kms.generateDataKey(keyId, 64, {})));
  t.same([before.keyVersion, ...many.map(({ keyVersion }) => keyVersion)], ['1', '2', '2', '2'], 'once');
  const { rotation, primaryVersion } = await kms.describeKey(keyId);
  t.equal(primaryVersion, '2');
  t.ok(Date.parse(rotation?.nextAt ?? '') > Date.now() + 29 * DAY_MS);
  t.ok((await kms.decrypt(before.ciphertext, {})).plaintext.equals(before.plaintext));
  t.equal((await kms.setRotation(keyId, null)).rotation, null);
  await t.rejects(kms.setRotation(keyId, 0), { code: 'USAGE' });
});

t.test(
  'wraps anew under the newest version, another key or another context, and shows no plaintext',
  async (t) => {
    const { kms, dir } = await external(t);
    const [{ keyId: a }, { keyId: b }] = [await kms.createKey(), await kms.createKey()];
    const { plaintext, ciphertext } = await kms.generateDataKey(a, 64, { disk: 'd1' });
    await kms.rotateKey(a);
    const newest = await kms.reEncrypt(ciphertext, { disk: 'd1' }, a, { disk: 'd1' });
    t.match(newest, { keyId: a, keyVersion: '2', sourceKeyId: a, sourceKeyVersion: '1' });
    const moved = await kms.reEncrypt(newest.ciphertext, { disk: 'd1' }, b, { disk: 'd2' });
    t.match(moved, { keyId: b, keyVersion: '1', sourceKeyId: a, sourceKeyVersion: '2' });
    const last = (await readFile(join(dir, 'audit.log'), 'utf8')).trimEnd().split('\n').at(-1) ?? '';
    t.match(JSON.parse(last), { operation: 'ReEncrypt', key: b, source: a }, 'the log names both keys');
    t.ok((await kms.decrypt(moved.ciphertext, { disk: 'd2' })).plaintext.equals(plaintext));
    await t.rejects(kms.reEncrypt(ciphertext, {}, b, {}), { code: 'KMS_WRONG_CONTEXT' });
    await kms.disableKey(b);
    await t.rejects(kms.reEncrypt(ciphertext, { disk: 'd1' }, b, {}), { code: 'KMS_KEY_DISABLED' });
  },
);

t.test('encrypts what it is given, up to 6144 bytes', async (t) => {
  const { kms } = await external(t);
  const { keyId } = await kms.createKey();
  for (const sizeBytes of [1, 6144]) {
    const plaintext = randomBytes(sizeBytes);
    const { ciphertext } = await kms.encrypt(keyId, plaintext, {});
    t.ok((await kms.decrypt(ciphertext, {})).plaintext.equals(plaintext));
  }
  for (const sizeBytes of [0, 6145]) {
    await t.rejects(kms.encrypt(keyId, Buffer.alloc(sizeBytes), {}), { code: 'USAGE' });
  }
});

t.test('tags and descriptions change, within their bounds', async (t) => {
  const { kms, keyId } = await external(t);
  await kms.tagKey(keyId, { team: 'a', use: 'disks' });
  await kms.tagKey(keyId, { team: 'b' });
  t.same((await kms.untagKey(keyId, ['use', 'none'])).tags, { team: 'b' });
  t.equal((await kms.setDescription(keyId, 'of team b')).description, 'of team b');
  await t.rejects(kms.setDescription(keyId, 'x'.repeat(8193)), { code: 'USAGE' });
  const many = Object.fromEntries(Array.from({ length: 51 }, (_, i) => [`t${i}`, '']));
  await t.rejects(kms.tagKey(keyId, many), { code: 'USAGE' });
  await t.rejects(kms.tagKey(keyId, { '': 'x' }), { code: 'USAGE' });
});
