/** What is over by the clock: it is not listed, and it is taken off the disk, its bytes overwritten. */

import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { fileOf } from '#sealdisk/kms/local/alias.js';
import { readAudit, verifyAudit } from '#sealdisk/kms/local/audit-verify.js';
import { wrapForImport } from '#sealdisk/kms/local/import.js';
import { LocalKms } from '#sealdisk/kms/local/local-kms.js';
import { sweepStore } from '#sealdisk/kms/local/sweep.js';
import { startFace } from './face.js';
import { later, tempPool, until } from './pool.js';

const DAY_MS = 86_400_000;
const WEEK_MS = 7 * DAY_MS;

async function rig(t: Test) {
  const dir = join(await tempPool(t), 'kms');
  const kms = LocalKms.open(dir);
  const { keyId: kept } = await kms.createKey({ alias: 'alias/kept' });
  const recordOf = (keyId: string) => join(dir, 'keys', keyId);
  return { dir, kms, kept, recordOf };
}

/** A key with imported material that ends after a day. */
async function imported(kms: LocalKms, alias: string): Promise<string> {
  const { keyId } = await kms.createKey({ alias, origin: 'external' });
  const choice = { algorithm: 'RSAES_OAEP_SHA_256', spec: 'RSA_2048' } as const;
  const { publicKey, importToken } = await kms.importParameters(keyId, choice);
  const wrapped = wrapForImport(publicKey, choice.algorithm, randomBytes(32));
  await kms.importMaterial(keyId, {
    importToken,
    wrapped,
    expiresAt: new Date(Date.now() + DAY_MS).toISOString(),
  });
  return keyId;
}

/** What the file that lies at `path` now holds after `change`, wherever its name has gone. */
async function bytesAfter(path: string, change: () => Promise<unknown>): Promise<Buffer> {
  const file = await open(path, 'r');
  try {
    await change();
    const bytes = Buffer.alloc((await file.stat()).size);
    await file.read(bytes, 0, bytes.length, 0);
    return bytes;
  } finally {
    await file.close();
  }
}

const isBlank = (bytes: Buffer): boolean => bytes.length > 100 && bytes.every((byte) => byte === 0);

async function operationsOn(dir: string, keyId: string): Promise<string[]> {
  const operations = [];
  for await (const { key, operation } of readAudit(dir)) if (key === keyId) operations.push(operation);
  return operations;
}

t.test('a key past its deletion date is not listed, and the next change takes it off the disk', async (t) => {
  const { dir, kms, kept, recordOf } = await rig(t);
  const { keyId } = await kms.createKey({ alias: 'alias/gone' });
  await kms.createAlias('alias/also-gone', keyId);
  await kms.scheduleDeletion(keyId, 7);
  t.equal((await kms.listKeys()).total, 2);
  t.equal((await kms.listAliases()).total, 3);
  later(t, WEEK_MS);
  const listed = { keys: [{ keyId: kept }], total: 1 };
  t.match(await kms.listKeys({ limit: 1 }), listed);
  t.same(await kms.listAliases(), { aliases: [{ alias: 'alias/kept', keyId: kept }], total: 1 });
  t.ok(existsSync(recordOf(keyId)), 'nobody has changed anything yet');
  const left = await bytesAfter(recordOf(keyId), () => kms.disableKey(kept));
  t.ok(isBlank(left), 'its record is overwritten');
  t.same(await readdir(join(dir, 'keys')), [kept]);
  t.same(await readdir(join(dir, 'aliases')), [fileOf('alias/kept')]);
  t.same(await readdir(join(dir, 'due')), ['complete']);
  t.same((await operationsOn(dir, keyId)).slice(-2), ['ScheduleKeyDeletion', 'DestroyKey']);
  t.match(await verifyAudit(dir), { ok: true });
  t.match(await kms.listKeys(), listed);
});

t.test('material whose time has ended is overwritten, and its key waits for it', async (t) => {
  const { dir, kms, kept, recordOf } = await rig(t);
  const keyId = await imported(kms, 'alias/x');
  const waits = await imported(kms, 'alias/y');
  await kms.scheduleDeletion(waits, 7);
  later(t, DAY_MS);
  for (const each of [keyId, waits]) t.equal((await kms.describeKey(each)).materialExpiresAt !== null, true);
  const left = await bytesAfter(recordOf(keyId), () => kms.disableKey(kept));
  t.ok(isBlank(left));
  t.match(await kms.describeKey(keyId), { state: 'pendingImport' });
  t.same((await operationsOn(dir, keyId)).at(-1), 'EndKeyMaterial');
  t.match(await kms.describeKey(waits), { state: 'pendingDeletion' });
  t.match(await kms.cancelDeletion(waits, 'enabled'), { state: 'pendingImport' }, 'it has none left');
  t.match((await readdir(join(dir, 'due'))).sort().at(-1), 'complete');
  t.equal((await kms.listKeys()).total, 3);
});

t.test('material that is deleted by hand is overwritten, too', async (t) => {
  const { kms, recordOf } = await rig(t);
  const keyId = await imported(kms, 'alias/x');
  t.ok(isBlank(await bytesAfter(recordOf(keyId), () => kms.deleteMaterial(keyId))));
  t.notOk(
    isBlank(await bytesAfter(recordOf(keyId), () => kms.tagKey(keyId, { a: 'b' }))),
    'and nothing else',
  );
});

t.test('a date that was taken back destroys nothing', async (t) => {
  const { dir, kms, kept } = await rig(t);
  const { keyId } = await kms.createKey();
  await kms.scheduleDeletion(keyId, 7);
  await kms.cancelDeletion(keyId);
  await kms.scheduleDeletion(keyId, 30);
  later(t, WEEK_MS);
  t.same(await sweepStore(dir), { destroyed: 0, ended: 0, failures: [] });
  await kms.disableKey(kept);
  t.equal((await kms.describeKey(keyId)).state, 'pendingDeletion');
  t.equal((await readdir(join(dir, 'due'))).length, 2, 'the later date stays noted');
});

t.test('many are swept a few at a time, and one that was altered hinders no other', async (t) => {
  const { dir, kms, kept, recordOf } = await rig(t);
  const ids = [];
  for (let i = 0; i < 20; i++) {
    const { keyId } = await kms.createKey();
    await kms.scheduleDeletion(keyId, 7);
    ids.push(keyId);
  }
  const bad = ids[0] as string;
  await writeFile(recordOf(bad), randomBytes(400));
  later(t, WEEK_MS);
  t.equal((await kms.enableKey(kept)).state, 'enabled');
  t.equal((await readdir(join(dir, 'keys'))).length, 21 - 16, 'a change does not wait for all');
  t.match(await sweepStore(dir), { destroyed: 3, failures: [{ code: 'KMS_STORE_ALTERED' }] });
  t.same((await readdir(join(dir, 'keys'))).sort(), [bad, kept].sort());
});

t.test('a store without its notes lists right, and gets them', async (t) => {
  const { dir, kms, kept } = await rig(t);
  const { keyId } = await kms.createKey({ alias: 'alias/gone' });
  await kms.scheduleDeletion(keyId, 7);
  await rm(join(dir, 'due'), { recursive: true });
  later(t, WEEK_MS);
  t.equal((await kms.listKeys()).total, 1);
  t.equal((await kms.listAliases()).total, 1);
  t.match(await sweepStore(dir), { destroyed: 1 });
  t.same(await readdir(join(dir, 'keys')), [kept]);
  t.same(await readdir(join(dir, 'due')), ['complete']);
});

t.test('while it serves, a store that nobody changes is swept', async (t) => {
  const { kms, dir } = await startFace(t, { sweepEveryMs: 10 });
  const { keyId } = await kms.createKey();
  await kms.scheduleDeletion(keyId, 7);
  later(t, WEEK_MS);
  await until('the key is off the disk', () => !existsSync(join(dir, 'keys', keyId)));
  t.ok((await stat(join(dir, 'keys'))).isDirectory());
  t.notMatch(await readFile(join(dir, 'audit.log'), 'utf8'), /"outcome":"KMS/);
});
