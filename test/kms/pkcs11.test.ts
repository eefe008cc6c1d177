/** The `pkcs11:` provider with SoftHSM 2: the contract, and what only a token can do. */

import { execFileSync } from 'node:child_process';
import { createDecipheriv, randomBytes } from 'node:crypto';
import { constants, mkdtempSync, readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { CanRewrap, KeyProvider } from '#sealdisk/kms/provider.js';
import { canonicalKeyUri, openProvider } from '#sealdisk/kms/registry.js';
import { providerContract, type Rig, rejectsWith } from './contract.js';
import { until } from './pool.js';
import { MODULE_PATH, SoftHsm } from './softhsm.js';

const SOON = { timeoutMs: 10_000 };
const CONTEXT = { 'sealdisk:disk': '6f9a8b5e-0c3e-4a52-9c50-3b1f0d3f9b01' };

const dir = mkdtempSync(join(tmpdir(), 'sealdisk-pkcs11-'));
const hsm = new SoftHsm(dir, 'disks');
t.teardown(() => {
  hsm.stop();
  rmSync(dir, { recursive: true });
});

const opened = (uri: string, env: NodeJS.ProcessEnv = hsm.env): Promise<KeyProvider & CanRewrap> =>
  openProvider(uri, { poolDir: '/nonexistent', env }) as Promise<KeyProvider & CanRewrap>;

/** A fresh key, and the provider of its label. */
async function freshKey(t: Test): Promise<{ id: string; label: string; provider: KeyProvider & CanRewrap }> {
  const id = randomBytes(8).toString('hex');
  const label = `key ${id}`;
  await hsm.make(label, id);
  const provider = await opened(`pkcs11:token=disks;object=${encodeURIComponent(label)}`);
  t.teardown(() => provider.close());
  return { id, label, provider };
}

async function startRig(t: Test): Promise<Rig> {
  const { id, provider } = await freshKey(t);
  const other = await opened(provider.keyUri);
  return {
    provider,
    other,
    disable: () => hsm.change(id, { CKA_DECRYPT: false }),
    enable: () => hsm.change(id, { CKA_DECRYPT: true }),
    stall,
    tellsContext: false,
    stop: () => other.close(),
  };
}

/** Whoever looks whether the token has changed waits in open(2), until the returned function is called. */
async function stall(): Promise<() => Promise<void>> {
  const generation = join(hsm.token, 'generation');
  await rename(generation, `${generation}.away`);
  execFileSync('mkfifo', [generation]);
  return async () => {
    // Who was given up at his deadline reads no more.
    const readers = await open(generation, constants.O_WRONLY | constants.O_NONBLOCK).catch(() => undefined);
    await rename(`${generation}.away`, generation);
    await readers?.close();
  };
}

/** As long as one is open the module's process stays, and is logged in. */
const one = await opened('pkcs11:token=disks;object=any');

t.test('the contract', async (t) => providerContract(t, startRig));

t.test('spells a URI in one way', async (t) => {
  const same: [string, string][] = [
    ['PKCS11:object=a%20b;token=disks', 'pkcs11:token=disks;object=a%20b'],
    ['pkcs11:id=%01A%fF;serial=1;type=secret-key', 'pkcs11:serial=1;id=%01%41%ff'],
    [
      'pkcs11:token=t;id=%00?pin-source=file:///run/a%26b&module-path=/usr/lib/x.so',
      'pkcs11:token=t;id=%00?module-path=/usr/lib/x.so&pin-source=file:/run/a%26b',
    ],
    [
      'pkcs11:token=a%2fb;model=m;manufacturer=n;object=%c3%a4',
      'pkcs11:token=a%2Fb;manufacturer=n;model=m;object=%C3%A4',
    ],
  ];
  for (const [given, canonical] of same) {
    t.equal(canonicalKeyUri(given), canonical);
    t.equal(canonicalKeyUri(canonical), canonical);
  }
});

t.test('refuses a URI that holds a secret, or what it does not know', async (t) => {
  const refused: [string, RegExp][] = [
    ['pkcs11:token=t;object=o?pin-value=4711', /a secret does not belong/],
    ['pkcs11:token=t;object=o;pin-value=4711', /a secret does not belong/],
    ['pkcs11:token=t;object=o?pin-source=|/bin/pin', /pin-source is file:/],
    ['pkcs11:token=t;object=o?pin-source=file:pin', /pin-source is file:/],
    ['pkcs11:token=t;object=o?module-path=libx.so', /no full path/],
    ['pkcs11:object=o', /names no token/],
    ['pkcs11:token=t', /names no key/],
    ['pkcs11:token=t;id=%0', /id is bytes/],
    ['pkcs11:token=t;id=', /id is bytes/],
    ['pkcs11:token=t;id=%00;id=%01', /stands twice/],
    ['pkcs11:token=t;object=o;slot-id=1', /unknown/],
    ['pkcs11:token=t;object=o;type=private', /secret-key/],
    ['pkcs11:', /names no token/],
  ];
  for (const [uri, message] of refused) {
    t.throws(() => canonicalKeyUri(uri), { code: 'KEY_URI_SYNTAX', message }, uri);
  }
});

t.test('loads a library and reads a PIN by the word of the machine or the owner only', async (t) => {
  const uri = `pkcs11:token=disks;object=x?module-path=${MODULE_PATH}`;
  const withPin = `${uri}&pin-source=file:${hsm.pinFile}`;
  const { SEALDISK_PKCS11_MODULE, ...noModule } = hsm.env;
  const { SEALDISK_PKCS11_PIN_FILE, ...noPin } = hsm.env;
  await t.rejects(opened(uri, noModule), { code: 'KMS_NOT_VOUCHED' });
  await t.rejects(opened(uri.replace('.so', '2.so')), { code: 'KMS_NOT_VOUCHED' });
  await t.rejects(opened(withPin, noPin), { code: 'KMS_NOT_VOUCHED' });
  await (await opened(withPin)).close();
  await (await openProvider(withPin, { poolDir: '/', env: {}, namedByOwner: true })).close();
  await t.rejects(opened('pkcs11:token=disks;object=x', noModule), { code: 'KEY_URI_SYNTAX' });
});

t.test('wraps as docs/providers.md says, so that a key can be recovered by hand', async (t) => {
  // As text: softhsm2-util may stop reading a key at a byte that is none.
  const key = Buffer.from(randomBytes(16).toString('hex'));
  hsm.import('known', 'beef', key);
  const provider = await opened('pkcs11:token=disks;id=%be%ef');
  t.teardown(() => provider.close());
  const { plaintext, wrapped } = await provider.generateDataKey(64, CONTEXT, SOON);
  const bytes = Buffer.from(wrapped.ciphertext);
  t.equal(bytes.toString('latin1', 0, 4), 'SDG\x01');
  t.equal(bytes.length, 4 + 12 + 64 + 16);
  const gcm = createDecipheriv('aes-256-gcm', key, bytes.subarray(4, 16));
  gcm.setAAD(Buffer.concat([bytes.subarray(0, 4), Buffer.from(JSON.stringify(CONTEXT))]));
  gcm.setAuthTag(bytes.subarray(80));
  t.ok(Buffer.concat([gcm.update(bytes.subarray(16, 80)), gcm.final()]).equals(plaintext));
});

t.test('moves a data key to the key that has taken the label over', async (t) => {
  const { id, label, provider } = await freshKey(t);
  const { plaintext, wrapped } = await provider.generateDataKey(64, CONTEXT, SOON);
  t.match(wrapped, { keyId: id, keyVersion: '1' });
  const next = randomBytes(8).toString('hex');
  await hsm.change(id, { CKA_LABEL: `${label} of last year` });
  await hsm.make(label, next);
  t.equal((await provider.describeKey(undefined, SOON)).keyId, next);
  t.ok(plaintext.equals(await provider.unwrap(wrapped, CONTEXT, SOON)), 'the old one opens what it wrapped');
  const moved = await provider.rewrap(wrapped, CONTEXT, SOON);
  t.equal(moved.keyId, next);
  await hsm.destroy(id);
  await rejectsWith(t, provider.unwrap(wrapped, CONTEXT, SOON), 'KMS_KEY_NOT_FOUND');
  t.ok(plaintext.equals(await provider.unwrap(moved, CONTEXT, SOON)));
  await rejectsWith(t, provider.rewrap(moved, {}, SOON), 'KMS_INVALID_CIPHERTEXT');
});

t.test('tells a key that went from a token that went, and goes on when the token is back', async (t) => {
  const { id, provider } = await freshKey(t);
  const { plaintext, wrapped } = await provider.generateDataKey(64, CONTEXT, SOON);
  renameSync(hsm.token, join(dir, 'away'));
  await rejectsWith(t, provider.unwrap(wrapped, CONTEXT, SOON), 'KMS_CONNECTION');
  await rejectsWith(t, provider.describeKey(id, SOON), 'KMS_CONNECTION');
  await rejectsWith(t, provider.generateDataKey(64, CONTEXT, SOON), 'KMS_CONNECTION');
  renameSync(join(dir, 'away'), hsm.token);
  t.ok(plaintext.equals(await provider.unwrap(wrapped, CONTEXT, SOON)));
  t.equal((await provider.describeKey(id, SOON)).state, 'enabled');
});

t.test('refuses what is no AES key, and names that are not one key', async (t) => {
  const found = async (object: string, code: string) => {
    const provider = await opened(`pkcs11:token=disks;object=${object}`);
    t.teardown(() => provider.close());
    await rejectsWith(t, provider.generateDataKey(64, CONTEXT, SOON), code, object);
    return provider.describeKey(undefined, SOON).then(
      ({ state }) => state,
      (error) => error.code,
    );
  };
  await hsm.make('des', 'd3', { mechanism: 'CKM_DES3_KEY_GEN' });
  t.equal(await found('des', 'KMS_UNSUPPORTED_KEY'), 'KMS_UNSUPPORTED_KEY');
  await hsm.make('data', '', { mechanism: 'data' });
  t.equal(await found('data', 'KMS_UNSUPPORTED_KEY'), 'KMS_UNSUPPORTED_KEY');
  await hsm.make('nameless', '');
  t.equal(await found('nameless', 'KMS_UNSUPPORTED_KEY'), 'KMS_UNSUPPORTED_KEY');
  await hsm.make('twins', 'e1');
  await hsm.make('twins', 'e2');
  t.equal(await found('twins', 'KMS_SERVER_ERROR'), 'KMS_SERVER_ERROR');
  await hsm.make('retired', 'f0', { CKA_ENCRYPT: false });
  t.equal(await found('retired', 'KMS_ACCESS_DENIED'), 'enabled', 'what it wrapped it still opens');
  t.equal(await found('nobody', 'KMS_KEY_NOT_FOUND'), 'KMS_KEY_NOT_FOUND');
});

t.test('cannot reach a library that is none, or a token that is not there', async (t) => {
  const unreached = async (uri: string, modulePath: string) => {
    const provider = await opened(uri, { ...hsm.env, SEALDISK_PKCS11_MODULE: modulePath });
    await rejectsWith(t, provider.describeKey(undefined, SOON), 'KMS_CONNECTION', modulePath);
    await provider.close();
  };
  await unreached('pkcs11:token=disks;object=x', join(dir, 'nothing.so'));
  await unreached('pkcs11:token=disks;object=x', hsm.pinFile);
  await unreached('pkcs11:token=other;object=x', MODULE_PATH);
  await unreached('pkcs11:token=disks;serial=0;object=x', MODULE_PATH);
});

/** Processes that hold a module for us. */
const helpers = (): number[] =>
  (readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').match(/\d+/g) ?? [])
    .map(Number)
    .filter((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('pkcs11-main'));

t.test('a silent token keeps neither the event loop nor, past the deadline, its process', async (t) => {
  const { provider } = await freshKey(t);
  const { wrapped } = await provider.generateDataKey(64, CONTEXT, SOON);
  const [stuck] = helpers();
  const goOn = await stall();
  let waiting = true;
  const asked = provider.unwrap(wrapped, CONTEXT, { timeoutMs: 150 }).finally(() => {
    waiting = false;
  });
  const timedOut = rejectsWith(t, asked, 'KMS_TIMEOUT');
  let turns = 0;
  for (; waiting; turns += 1) await new Promise((go) => setImmediate(go));
  t.ok(turns > 0, 'other work goes on meanwhile');
  await timedOut;
  await until('its process has ended', () => !helpers().includes(stuck as number));
  await goOn();
  t.equal((await provider.unwrap(wrapped, CONTEXT, SOON)).length, 64);
});

t.test('a helper that dies is started again', async (t) => {
  const { provider } = await freshKey(t);
  await provider.describeKey(undefined, SOON);
  const [pid] = helpers();
  process.kill(pid as number, 'SIGKILL');
  await until('it has ended', () => helpers().length === 0);
  t.equal((await provider.describeKey(undefined, SOON)).state, 'enabled');
});

t.test('the last one to close ends the helper', async (t) => {
  t.equal(helpers().length, 1);
  await one.close();
  await until('it has ended', () => helpers().length === 0);
});

t.test('never tries a wrong PIN twice, until its file changes', async (t) => {
  const { provider } = await freshKey(t);
  const pinFile = join(dir, 'wrong pin');
  writeFileSync(pinFile, 'wrong\n', { mode: 0o600 });
  const withIt = () => opened(provider.keyUri, { ...hsm.env, SEALDISK_PKCS11_PIN_FILE: pinFile });
  const denied = (asker: KeyProvider, message: RegExp) =>
    t.rejects(asker.describeKey(undefined, SOON), { code: 'KMS_ACCESS_DENIED', message });
  const wrong = await withIt();
  await denied(wrong, /CKR_PIN_INCORRECT/);
  await denied(wrong, /not tried again until the file changes/);
  await wrong.close();
  await provider.close();
  const another = await withIt();
  t.teardown(() => another.close());
  await denied(another, /not tried again/);
  utimesSync(pinFile, 1, 1);
  await denied(another, /CKR_PIN_INCORRECT/);
  writeFileSync(pinFile, '4711-pin');
  t.equal((await another.describeKey(undefined, SOON)).state, 'enabled');
});

t.test('says what it misses to log in', async (t) => {
  const { provider } = await freshKey(t);
  const lacks = async (pinFile: string | undefined, message: RegExp) => {
    const without = await opened(provider.keyUri, { ...hsm.env, SEALDISK_PKCS11_PIN_FILE: pinFile });
    await t.rejects(without.describeKey(undefined, SOON), { code: 'KMS_CREDENTIALS', message });
    await without.close();
  };
  await lacks(undefined, /wants a PIN/);
  await lacks(join(dir, 'nothing'), /ENOENT/);
  writeFileSync(join(dir, 'open'), '4711-pin', { mode: 0o644 });
  await lacks(join(dir, 'open'), /chmod/);
  writeFileSync(join(dir, 'empty'), '\n', { mode: 0o600 });
  await lacks(join(dir, 'empty'), /does not hold a PIN/);
});
