/** The `kmip:` provider with PyKMIP's server: the contract, and what only KMIP has. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { CanRewrap, KeyProvider } from '#sealdisk/kms/provider.js';
import { canonicalKeyUri, openProvider } from '#sealdisk/kms/registry.js';
import { providerContract, type Rig, rejectsWith } from './contract.js';
import { envOf, PyKmip } from './pykmip.js';

const SOON = { timeoutMs: 10_000 };
const CONTEXT = { 'sealdisk:disk': '6f9a8b5e-0c3e-4a52-9c50-3b1f0d3f9b01' };

const dir = mkdtempSync(join(tmpdir(), 'sealdisk-kmip-'));
const kmip = await PyKmip.start(dir);
t.teardown(async () => {
  await kmip.stop();
  rmSync(dir, { recursive: true });
});

const uriOf = (uid: string): string => `kmip://127.0.0.1:${kmip.port}/${uid}`;

async function opened(t: Test, uri: string, env = kmip.env): Promise<KeyProvider & CanRewrap> {
  const provider = await openProvider(uri, { poolDir: '/nonexistent', env });
  t.teardown(() => provider.close());
  return provider as KeyProvider & CanRewrap;
}

async function startRig(t: Test): Promise<Rig> {
  const uid = await kmip.create();
  return {
    provider: await opened(t, uriOf(uid)),
    other: await opened(t, uriOf(uid)),
    disable: () => kmip.revoke(uid),
    enable: () => kmip.putBack(uid),
    stall: async () => kmip.stall(),
    tellsContext: false,
    stop: async () => {},
  };
}

t.test('the contract', async (t) => providerContract(t, startRig));

t.test('spells a URI in one way', async (t) => {
  const same: [string, string][] = [
    ['KMIP://Kms.Example/7', 'kmip://kms.example:5696/7'],
    ['kmip://[::1]:1/a%2Fb', 'kmip://[::1]:1/a%2Fb'],
    ['kmip://h:5696/x?key=/k&cert=/c&ca=/a', 'kmip://h:5696/x?ca=/a&cert=/c&key=/k'],
    ['kmip://h/?ca=/a%20b&name=my%20key', 'kmip://h:5696/?name=my%20key&ca=/a%20b'],
  ];
  for (const [given, canonical] of same) {
    t.equal(canonicalKeyUri(given), canonical);
    t.equal(canonicalKeyUri(canonical), canonical);
  }
});

t.test('refuses a URI that holds a secret, or what it does not know', async (t) => {
  const refused: [string, RegExp][] = [
    ['kmip://h/7?password=x', /a secret does not belong/],
    ['kmip://user:word@h/7', /it is kmip:/],
    ['kmip://h/7?tls=off', /unknown/],
    ['kmip://h/7?cert=c.pem', /no full path/],
    ['kmip://h/', /names a unique identifier or a name/],
    ['kmip://h/7?name=x', /names a unique identifier or a name/],
    ['kmip://h:0/7', /port/],
    ['kmip://h:65536/7', /port/],
    ['kmip://h', /it is kmip:/],
    ['kmip:h/7', /it is kmip:/],
    ['kmip://h/7/8', /it is kmip:/],
    [`kmip://h/${'7'.repeat(257)}`, /longer than 256/],
    ['kmip://h/%00', /control characters/],
  ];
  for (const [uri, message] of refused) {
    t.throws(() => canonicalKeyUri(uri), { code: 'KEY_URI_SYNTAX', message }, uri);
  }
});

t.test('uses certificates by the word of the machine or the owner only', async (t) => {
  const { SEALDISK_KMIP_CA: ca } = kmip.env;
  const uri = `${uriOf('1')}?ca=${ca}`;
  await t.rejects(openProvider(uri, { poolDir: '/', env: {} }), { code: 'KMS_NOT_VOUCHED' });
  await opened(t, uri);
  await (await openProvider(uri, { poolDir: '/', env: {}, namedByOwner: true })).close();
});

t.test('moves a data key to the key that has taken the name over', async (t) => {
  const first = await kmip.create({ name: 'disks' });
  const provider = await opened(t, `kmip://127.0.0.1:${kmip.port}/?name=disks`);
  const { plaintext, wrapped } = await provider.generateDataKey(64, CONTEXT, SOON);
  t.match(wrapped, { keyId: first, keyVersion: '1' });
  const next = await kmip.create();
  await kmip.moveName(first, next);
  t.equal((await provider.describeKey(undefined, SOON)).keyId, next);
  t.ok(plaintext.equals(await provider.unwrap(wrapped, CONTEXT, SOON)), 'the old one opens what it wrapped');
  const moved = await provider.rewrap(wrapped, CONTEXT, SOON);
  t.equal(moved.keyId, next);
  await kmip.revoke(first);
  await rejectsWith(t, provider.unwrap(wrapped, CONTEXT, SOON), 'KMS_KEY_DISABLED');
  await kmip.destroy(first);
  await rejectsWith(t, provider.unwrap(wrapped, CONTEXT, SOON), 'KMS_KEY_NOT_FOUND');
  t.ok(plaintext.equals(await provider.unwrap(moved, CONTEXT, SOON)));
  const nobody = await opened(t, `kmip://127.0.0.1:${kmip.port}/?name=nobody`);
  await rejectsWith(t, nobody.generateDataKey(64, CONTEXT, SOON), 'KMS_KEY_NOT_FOUND');
});

t.test('takes a key that was never activated for disabled', async (t) => {
  const uid = await kmip.create({ active: false });
  const provider = await opened(t, uriOf(uid));
  t.equal((await provider.describeKey(undefined, SOON)).state, 'disabled');
  await rejectsWith(t, provider.generateDataKey(64, CONTEXT, SOON), 'KMS_KEY_DISABLED');
  await kmip.activate(uid);
  await provider.generateDataKey(64, CONTEXT, SOON);
});

t.test('refuses what is no AES key', async (t) => {
  const provider = await opened(t, uriOf(await kmip.create({ algorithm: 'TRIPLE_DES', bits: 192 })));
  await rejectsWith(t, provider.generateDataKey(64, CONTEXT, SOON), 'KMS_UNSUPPORTED_KEY');
});

t.test("is denied another client's key", async (t) => {
  const uid = await kmip.create();
  const stranger = await opened(t, uriOf(uid), envOf(kmip.ca.folder('stranger', 'client')));
  await rejectsWith(t, stranger.describeKey(undefined, SOON), 'KMS_ACCESS_DENIED');
  await rejectsWith(t, stranger.generateDataKey(64, CONTEXT, SOON), 'KMS_ACCESS_DENIED');
});

t.test('says which certificate or file is missing or wrong', async (t) => {
  const lacks = async (env: NodeJS.ProcessEnv, code: string, message: RegExp) => {
    const provider = await opened(t, uriOf('1'), env);
    await t.rejects(provider.describeKey(undefined, SOON), { code, message });
  };
  const { env } = kmip;
  await lacks({}, 'KMS_CREDENTIALS', /neither ca= nor SEALDISK_KMIP_CA/);
  await lacks({ ...env, SEALDISK_KMIP_KEY: join(dir, 'none') }, 'KMS_CREDENTIALS', /none: ENOENT/);
  writeFileSync(join(dir, 'text'), 'hello');
  await lacks({ ...env, SEALDISK_KMIP_CERT: join(dir, 'text') }, 'KMS_CREDENTIALS', /no PEM files/);
  const server = kmip.ca.folder('other', 'server');
  const asServer = {
    ...env,
    SEALDISK_KMIP_CERT: join(server, 'server-cert.pem'),
    SEALDISK_KMIP_KEY: join(server, 'server-key.pem'),
  };
  await lacks(asServer, 'KMS_CREDENTIALS', /refuses our certificate/);
  await lacks({ ...env, SEALDISK_KMIP_CA: env.SEALDISK_KMIP_CERT as string }, 'KMS_CONNECTION', /CA/);
});

t.test('goes on when its server was away', async (t) => {
  const provider = await opened(t, uriOf(await kmip.create()));
  const { plaintext, wrapped } = await provider.generateDataKey(64, CONTEXT, SOON);
  await kmip.kill();
  await rejectsWith(t, provider.describeKey(undefined, SOON), 'KMS_CONNECTION');
  kmip.resume();
  let back: Buffer | undefined;
  while (!back) back = await provider.unwrap(wrapped, CONTEXT, SOON).catch(() => undefined);
  t.ok(plaintext.equals(back));
});
