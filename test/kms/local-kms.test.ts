import { appendFile, mkdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { fileOf } from '#sealdisk/kms/local/alias.js';
import { LocalKms } from '#sealdisk/kms/local/local-kms.js';
import { tempPool } from './pool.js';

const UNKNOWN = '00000000-0000-4000-8000-000000000000';

async function open(t: Test): Promise<{ kms: LocalKms; dir: string }> {
  const dir = join(await tempPool(t), 'kms');
  return { kms: LocalKms.open(dir), dir };
}

const audit = async (dir: string): Promise<Record<string, unknown>[]> =>
  (await readFile(join(dir, 'audit.log'), 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));

t.test('does nothing to the disk until there is a key to make', async (t) => {
  const { kms, dir } = await open(t);
  t.same(await kms.listKeys(), { keys: [], total: 0 });
  await t.rejects(kms.describeKey('alias/x'), { code: 'KMS_CONNECTION' });
  await t.rejects(kms.disableKey('alias/x'), { code: 'KMS_CONNECTION' });
  await t.rejects(stat(dir), { code: 'ENOENT' });
});

t.test('makes its folder and files for its owner only', async (t) => {
  const umask = process.umask(0);
  t.teardown(() => process.umask(umask));
  const { kms, dir } = await open(t);
  const { keyId } = await kms.createKey({ alias: 'alias/x' });
  for (const [name, mode] of [
    ['.', 0o700],
    ['keys', 0o700],
    ['root.key', 0o600],
    ['aliases', 0o700],
    [`aliases/${fileOf('alias/x')}`, 0o600],
    ['audit.log', 0o600],
    ['lock', 0o600],
    [`keys/${keyId}`, 0o600],
  ] as const) {
    t.equal((await stat(join(dir, name))).mode & 0o777, mode, name);
  }
});

t.test('shows what it made', async (t) => {
  const { kms } = await open(t);
  const made = await kms.createKey({ alias: 'alias/x', description: 'for the tests' });
  t.match(made, {
    state: 'enabled',
    aliases: ['alias/x'],
    spec: 'AES_256',
    origin: 'kms',
    serviceKey: false,
  });
  t.match(made, { description: 'for the tests', primaryVersion: '1', deletionDate: null });
  t.same(await kms.describeKey('alias/x'), made);
  t.same(await kms.describeKey(made.keyUri), made);
  t.same(await kms.listKeys(), { keys: [made], total: 1 });
  t.equal(await kms.resolve('local:alias/x'), made.keyId);
  await t.rejects(kms.describeKey('alias/y'), { code: 'KMS_KEY_NOT_FOUND' });
  await t.rejects(kms.describeKey(UNKNOWN), { code: 'KMS_KEY_NOT_FOUND' });
});

t.test('makes asymmetric keys, which wrap nothing', async (t) => {
  const { kms } = await open(t);
  const { keyId: symmetric } = await kms.createKey();
  const { ciphertext } = await kms.generateDataKey(symmetric, 64, {});
  const refusal = { code: 'KMS_UNSUPPORTED_KEY', message: /is EC_P256, expected AES_256/ };
  const { keyId, usage, state } = await kms.createKey({ spec: 'EC_P256' });
  t.same([usage, state], ['SIGN_VERIFY', 'enabled']);
  await t.rejects(kms.generateDataKey(keyId, 64, {}), refusal);
  await t.rejects(kms.encrypt(keyId, Buffer.from('x'), {}), refusal);
  await t.rejects(kms.reEncrypt(ciphertext, {}, keyId, {}), refusal);
  await t.rejects(kms.rotateKey(keyId), refusal);
  t.equal((await kms.createKey({ spec: 'RSA_2048' })).spec, 'RSA_2048');
  for (const spec of ['EC_SM2', '', 'toString']) {
    await t.rejects(kms.createKey({ spec }), { code: 'KMS_UNSUPPORTED_KEY' }, spec);
  }
  t.equal((await kms.listKeys()).keys.length, 3, 'and of a spec that it does not know it makes none');
});

t.test('an alias names one key, is well formed, and is not one of the reserved', async (t) => {
  const { kms } = await open(t);
  const { keyId } = await kms.createKey({ alias: 'alias/x' });
  await t.rejects(kms.createKey({ alias: 'alias/x' }), {
    code: 'KMS_ALIAS_TAKEN',
    message: new RegExp(keyId),
  });
  await t.rejects(kms.createAlias('alias/x', keyId), { code: 'KMS_ALIAS_TAKEN' });
  t.equal((await kms.listKeys()).keys.length, 1, 'nothing was made');
  for (const alias of [
    'x',
    'alias/',
    'alias/acs/ecs',
    'alias/acs/x',
    'alias/a b',
    `alias/${'a'.repeat(256)}`,
  ]) {
    await t.rejects(kms.createKey({ alias }), { code: 'KMS_ALIAS_SYNTAX' }, alias);
    await t.rejects(kms.createAlias(alias, keyId), { code: 'KMS_ALIAS_SYNTAX' }, alias);
  }
  await kms.createAlias('alias/y', 'alias/x');
  t.same((await kms.describeKey('alias/y')).aliases, ['alias/x', 'alias/y']);
});

t.test('the service key makes itself and cannot be disabled, deleted or rotated', async (t) => {
  const { kms } = await open(t);
  await t.rejects(kms.disableKey('alias/acs/ecs'), { code: 'KMS_SERVICE_KEY' });
  const { keyId, state, serviceKey } = await kms.describeKey('alias/acs/ecs');
  t.equal(serviceKey, true);
  await t.rejects(kms.disableKey(keyId), { code: 'KMS_SERVICE_KEY', message: /disabled/ });
  await t.rejects(kms.scheduleDeletion(keyId), { code: 'KMS_SERVICE_KEY', message: /deletion/ });
  await t.rejects(kms.rotateKey(keyId), { code: 'KMS_SERVICE_KEY', message: /rotated/ });
  t.equal(state, 'enabled');
});

t.test('schedules a deletion with its date, and cancels it into disabled', async (t) => {
  const { kms } = await open(t);
  await kms.createKey({ alias: 'alias/x' });
  const scheduled = await kms.scheduleDeletion('alias/x', 7);
  const days = (Date.parse(scheduled.deletionDate ?? '') - Date.now()) / 86_400_000;
  t.ok(days > 6.9 && days <= 7);
  await t.rejects(kms.enableKey('alias/x'), { code: 'KMS_STATE' });
  await t.rejects(kms.createAlias('alias/y', 'alias/x'), { code: 'KMS_STATE' });
  t.match(await kms.cancelDeletion('alias/x'), { state: 'disabled', deletionDate: null });
  t.equal((await kms.enableKey('alias/x')).state, 'enabled');
});

t.test('after a rotation wraps with the new version and still opens the old', async (t) => {
  const { kms } = await open(t);
  await kms.createKey({ alias: 'alias/x' });
  const before = await kms.generateDataKey('alias/x', 64, {});
  t.equal((await kms.rotateKey('alias/x')).primaryVersion, '2');
  const after = await kms.generateDataKey('alias/x', 64, {});
  t.same([before.keyVersion, after.keyVersion], ['1', '2']);
  for (const key of [before, after])
    t.ok((await kms.decrypt(key.ciphertext, {})).plaintext.equals(key.plaintext));
  const twisted = Buffer.from(before.ciphertext);
  twisted.writeUInt32BE(2, 20);
  await t.rejects(kms.decrypt(twisted, {}), { code: 'KMS_INVALID_CIPHERTEXT' });
  twisted.writeUInt32BE(3, 20);
  await t.rejects(kms.decrypt(twisted, {}), { code: 'KMS_INVALID_CIPHERTEXT' });
});

t.test('data keys have 1 to 1024 bytes', async (t) => {
  const { kms } = await open(t);
  for (const sizeBytes of [0, 1025, 1.5]) {
    await t.rejects(kms.generateDataKey('alias/acs/ecs', sizeBytes, {}), { code: 'INTERNAL' });
  }
  t.equal((await kms.generateDataKey('alias/acs/ecs', 1024, {})).plaintext.length, 1024);
});

t.test('audits who did what and how it ended, and no key byte', async (t) => {
  const { kms, dir } = await open(t);
  const { keyId } = await kms.createKey({ alias: 'alias/x' });
  const made = await kms.generateDataKey('alias/x', 64, { disk: 'd1' });
  await kms.decrypt(made.ciphertext, { disk: 'd2' }).catch(() => undefined);
  await kms.disableKey('alias/x');
  await kms.decrypt(made.ciphertext, { disk: 'd1' }).catch(() => undefined);
  t.match(await audit(dir), [
    { operation: 'CreateKey', key: keyId, outcome: 'ok', pid: process.pid, uid: process.getuid?.() },
    { operation: 'GenerateDataKey', key: keyId, outcome: 'ok', context: { disk: 'd1' } },
    { operation: 'Decrypt', key: keyId, outcome: 'KMS_WRONG_CONTEXT', context: { disk: 'd2' } },
    { operation: 'DisableKey', key: keyId, outcome: 'ok' },
    { operation: 'Decrypt', key: keyId, outcome: 'KMS_KEY_DISABLED' },
  ]);
  const text = await readFile(join(dir, 'audit.log'), 'utf8');
  for (const encoding of ['hex', 'base64'] as const)
    t.notOk(text.includes(made.plaintext.toString(encoding)));
});

t.test('begins a new audit line after one that was cut short', async (t) => {
  const { kms, dir } = await open(t);
  await kms.createKey();
  await appendFile(join(dir, 'audit.log'), '{"time":"2026');
  await kms.createKey();
  const lines = (await readFile(join(dir, 'audit.log'), 'utf8')).split('\n');
  t.match(JSON.parse(lines[2] as string), { operation: 'AuditRepair', repair: { torn: true } });
  t.equal(JSON.parse(lines[3] as string).operation, 'CreateKey');
});

t.test('uses no key unseen: without an audit log there is no data key', async (t) => {
  const { kms, dir } = await open(t);
  await kms.createKey({ alias: 'alias/x' });
  await rm(join(dir, 'audit.log'));
  await mkdir(join(dir, 'audit.log'));
  await t.rejects(kms.generateDataKey('alias/x', 64, {}), { code: 'KMS_STORE', message: /audit.log/ });
});
