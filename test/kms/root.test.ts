/** How a root key is kept: each kind gives it back to whom it should, and to nobody else; and a rotation, cut and not. */

import { spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { verifyAudit } from '#sealdisk/kms/local/audit-verify.js';
import { LocalKms } from '#sealdisk/kms/local/local-kms.js';
import { holdRoot } from '#sealdisk/kms/local/root/held.js';
import { protectRoot, rotateRoot } from '#sealdisk/kms/local/root/rotate.js';
import { tempPool } from './pool.js';
import { startWorker } from './workers.js';

t.setTimeout(110_000);

async function withKeys(t: Test) {
  const pool = await tempPool(t);
  const dir = join(pool, 'kms');
  const kms = LocalKms.open(dir);
  const { keyId } = await kms.createKey({ alias: 'alias/x' });
  await kms.createKey({ alias: 'alias/ec', spec: 'EC_P256' });
  const made = await kms.generateDataKey('alias/x', 64, {});
  await kms.rotateKey('alias/x');
  const opens = async () => (await kms.decrypt(made.ciphertext, {})).plaintext.equals(made.plaintext);
  const secret = join(pool, 'passphrase');
  await writeFile(secret, 'correct horse\n', { mode: 0o600 });
  t.teardown(() => {
    delete process.env.SEALDISK_KMS_PASSPHRASE_FILE;
    delete process.env.CREDENTIALS_DIRECTORY;
    delete process.env.TPM2TOOLS_TCTI;
  });
  return { pool, dir, kms, keyId, opens, secret };
}

t.test('behind a passphrase, nobody without it opens the store, and the key file is gone', async (t) => {
  const { pool, dir, kms, opens, secret } = await withKeys(t);
  await protectRoot(dir, { kind: 'passphrase', passphraseFile: secret });
  t.notOk((await readdir(dir)).includes('root.key'));
  t.ok(await opens(), 'who changed it has it still');
  holdRoot(dir)(); // held, and let go at once
  await t.rejects(kms.describeKey('alias/x'), { code: 'KMS_ROOT_LOCKED', message: /not at hand/ });
  process.env.SEALDISK_KMS_PASSPHRASE_FILE = join(pool, 'wrong');
  await t.rejects(kms.describeKey('alias/x'), { code: 'KMS_ROOT_LOCKED', message: /ENOENT/ });
  await writeFile(join(pool, 'wrong'), 'correct horsf\n');
  await t.rejects(kms.describeKey('alias/x'), { code: 'KMS_ROOT_LOCKED', message: /does not open/ });
  process.env.SEALDISK_KMS_PASSPHRASE_FILE = secret;
  t.ok(await opens());
  holdRoot(dir)();
  t.match(await rotateRoot(dir, { kind: 'file' }), { generation: 2, resumed: false });
  delete process.env.SEALDISK_KMS_PASSPHRASE_FILE;
  t.ok(await opens());
});

t.test('under a systemd credential', async (t) => {
  const { pool, dir, kms, opens } = await withKeys(t);
  const path = join(pool, 'sealdisk-kms-root');
  process.env.CREDENTIALS_DIRECTORY = pool;
  await t.rejects(protectRoot(dir, { kind: 'credential' }), { code: 'KMS_ROOT_LOCKED', message: /ENOENT/ });
  await writeFile(path, 'x'.repeat(31));
  await t.rejects(protectRoot(dir, { kind: 'credential' }), { code: 'KMS_ROOT_LOCKED', message: /31 bytes/ });
  await writeFile(path, 'x'.repeat(32));
  await protectRoot(dir, { kind: 'credential' });
  t.ok(await opens());
  holdRoot(dir)();
  t.ok(await opens());
  holdRoot(dir)();
  delete process.env.CREDENTIALS_DIRECTORY;
  await t.rejects(kms.describeKey('alias/x'), { code: 'KMS_ROOT_LOCKED', message: /CREDENTIALS_DIRECTORY/ });
});

/** A software TPM on two free ports beside one another; ended with the test. */
async function startTpm(t: Test): Promise<string> {
  const state = await mkdtemp(join(tmpdir(), 'sealdisk-swtpm-'));
  const port = await new Promise<number>((found) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port: free } = server.address() as { port: number };
      server.close(() => found(free));
    });
  });
  const common = ['socket', '--tpm2', '--tpmstate', `dir=${state}`, '--flags', 'not-need-init,startup-clear'];
  const ports = ['--server', `type=tcp,port=${port}`, '--ctrl', `type=tcp,port=${port + 1}`];
  const child = spawn('swtpm', [...common, ...ports], { stdio: 'inherit' });
  t.teardown(async () => {
    child.kill('SIGKILL');
    await rm(state, { recursive: true, force: true });
  });
  return `swtpm:host=127.0.0.1,port=${port}`;
}

t.test('in a TPM, another TPM does not give it, nor the same one with other PCRs', async (t) => {
  const { dir, kms, opens } = await withKeys(t);
  const [ours, other] = [await startTpm(t), await startTpm(t)];
  process.env.TPM2TOOLS_TCTI = ours;
  await eventually(() => protectRoot(dir, { kind: 'tpm', pcrs: 'sha256:16' }));
  holdRoot(dir)();
  t.match(JSON.parse(await readFile(join(dir, 'root.json'), 'utf8')), {
    current: { protection: { kind: 'tpm' } },
  });
  t.ok(await opens());
  holdRoot(dir)();
  process.env.TPM2TOOLS_TCTI = other;
  await eventually(() =>
    t.rejects(kms.describeKey('alias/x'), { code: 'KMS_ROOT_LOCKED', message: /tpm2_load/ }),
  );
  process.env.TPM2TOOLS_TCTI = ours;
  t.ok(await opens());
  holdRoot(dir)();
  const extend = spawn('tpm2_pcrextend', [`16:sha256=${'a'.repeat(64)}`], { stdio: 'inherit' });
  await new Promise((done) => extend.once('close', done));
  await t.rejects(kms.describeKey('alias/x'), { code: 'KMS_ROOT_LOCKED', message: /tpm2_unseal/ });
});

/** A server that was just started may not listen yet. */
async function eventually<T>(work: () => Promise<T>): Promise<T> {
  for (let left = 50; ; left--) {
    try {
      return await work();
    } catch (error) {
      if (left === 0 || !/tpm2_createprimary/.test(String(error))) throw error;
      await new Promise((again) => setTimeout(again, 50));
    }
  }
}

t.test('a rotation seals everything anew, and what the old root key sealed is worth nothing', async (t) => {
  const { dir, opens, keyId } = await withKeys(t);
  const old = await readFile(join(dir, 'root.key'));
  const before = await readFile(join(dir, 'keys', keyId));
  t.match(await rotateRoot(dir, undefined), { generation: 2, resumed: false, resealed: 4 });
  t.ok(await opens());
  t.same((await readdir(dir)).filter((name) => name.startsWith('root')).sort(), ['root.2.key', 'root.json']);
  t.notOk(before.equals(await readFile(join(dir, 'keys', keyId))));
  await writeFile(join(dir, 'root.2.key'), old);
  await t.rejects(LocalKms.open(dir).describeKey(keyId), { code: 'KMS_STORE_ALTERED' });
});

t.test('while a process rotates the root again and again, others read and change', async (t) => {
  const { dir, kms, opens, keyId } = await withKeys(t);
  const rotator = startWorker(t, dir, 'rotateRoot', '6');
  const release = holdRoot(dir);
  let ended = false;
  void rotator.ended.then(() => {
    ended = true;
  });
  let uses = 0;
  while (!ended) {
    t.ok(await opens());
    t.equal((await kms.disableKey(keyId)).state, 'disabled');
    t.equal((await kms.enableKey(keyId)).state, 'enabled');
    await kms.rotateKey(keyId);
    uses++;
  }
  release();
  t.same((await rotator.ended).length, 6);
  t.ok(uses > 2, `${uses} rounds`);
  t.match(await verifyAudit(dir), { ok: true });
  t.ok(await opens());
});
