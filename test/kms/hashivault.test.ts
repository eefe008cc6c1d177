import { randomBytes } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import type { Code } from '#sealdisk/errors.js';
import { canRewrap, failureOfDescription } from '#sealdisk/kms/provider.js';
import { canonicalKeyUri, openProvider } from '#sealdisk/kms/registry.js';
import { providerContract, type Rig, rejectsWith } from './contract.js';
import { failureContract } from './failure-contract.js';
import { FakeVault } from './fake-vault.js';
import { FaultyServer, makeAuthority, type Reply, reply } from './faulty-server.js';
import { tempPool } from './pool.js';

const SOON = { timeoutMs: 10_000 };
const CONTEXT = { 'sealdisk:disk': '6f9a8b5e-0c3e-4a52-9c50-3b1f0d3f9b01' };
const TOKEN = 'hvs.c2VjcmV0LXRva2VuLW9mLXRoZS1yaWc';

const open = (env: NodeJS.ProcessEnv, uri = 'hashivault://disks', namedByOwner = false) =>
  openProvider(uri, { poolDir: '/nonexistent', env, namedByOwner });

/** A Vault with the key `disks`, and the environment of somebody with a token for it. */
async function vaultWithKey(t: Test) {
  const vault = await FakeVault.start(t);
  const key = vault.addKey('disks');
  const token = vault.addToken();
  return { vault, key, token, env: { VAULT_ADDR: vault.origin, VAULT_TOKEN: token } };
}

async function startRig(t: Test): Promise<Rig> {
  const { vault, key, env } = await vaultWithKey(t);
  const [provider, other] = [await open(env), await open(env)];
  return {
    provider,
    other,
    scheduleDeletion: async () => {
      key.softDeleted = true;
    },
    cancelDeletion: async () => {
      key.softDeleted = false;
    },
    stall: async () => {
      let goOn = (): void => {};
      vault.stalled = new Promise((resolve) => {
        goOn = resolve;
      });
      return async () => {
        vault.stalled = undefined;
        goOn();
      };
    },
    tellsContext: false,
    stop: async () => {
      await provider.close();
      await other.close();
    },
  };
}

t.test('the contract', async (t) => providerContract(t, startRig));

const says = (status: number, ...errors: string[]): Reply => ({ status, body: JSON.stringify({ errors }) });
const denied = '1 error occurred:\n\t* permission denied\n\n';

t.test('failures', async (t) =>
  failureContract(t, {
    open: (origin, caFile) => open({ VAULT_ADDR: origin, VAULT_TOKEN: TOKEN, VAULT_CACERT: caFile }),
    wrapped: { keyId: 'transit/disks', keyVersion: '1', ciphertext: randomBytes(92) },
    secrets: [TOKEN],
    replies: [
      ['sealed', says(503, 'Vault is sealed'), 'KMS_SERVER_ERROR'],
      ['a standby that lags', says(412, 'required index state not present'), 'KMS_BAD_REPLY'],
      ['a quota', says(429, 'request path "x": rate limit quota exceeded'), 'KMS_THROTTLED'],
      ['an internal error', says(500, 'internal error'), 'KMS_SERVER_ERROR'],
      ['another ciphertext', says(500, 'cipher: message authentication failed'), 'KMS_INVALID_CIPHERTEXT'],
      ['no right', says(403, denied), 'KMS_ACCESS_DENIED'],
      [
        'a token that has ended',
        says(403, '2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n'),
        'KMS_ACCESS_DENIED',
      ],
      [
        'no such mount',
        says(404, 'no handler for route "transit/keys/disks". route entry not found.'),
        'KMS_KEY_NOT_FOUND',
      ],
      ['no such key', says(400, 'encryption key not found'), 'KMS_KEY_NOT_FOUND'],
      ['nothing there', says(404), 'KMS_KEY_NOT_FOUND'],
      ['an unknown reason', says(400, 'something else'), 'KMS_BAD_REPLY'],
    ],
    wrongShapes: [
      ['no data', '{"request_id":"1"}'],
      ['data that is no object', '{"data":"c2VjcmV0LTQ3MTEtc2VjcmV0"}'],
      ['a plaintext that is no text', '{"data":{"plaintext":17}}'],
      ['a plaintext that is no base64', '{"data":{"plaintext":"c2VjcmV0LTQ3MTEtc2VjcmV0!"}}'],
      ['an empty plaintext', '{"data":{"plaintext":""}}'],
      [
        'a plaintext of 5000 bytes',
        JSON.stringify({ data: { plaintext: Buffer.alloc(5000).toString('base64') } }),
      ],
    ],
  }),
);

t.test('takes every spelling of a key to one, and refuses what is none', async (t) => {
  const same = {
    'hashivault://disks': 'hashivault://disks',
    'HASHIVAULT://disks?mount=transit': 'hashivault://disks',
    'hashivault://a.b-c?namespace=n%2Fm&mount=kms/transit&addr=https://VAULT:8200/':
      'hashivault://a.b-c?addr=https://vault:8200&mount=kms/transit&namespace=n/m',
    'hashivault://x?addr=http://127.0.0.1:8200': 'hashivault://x?addr=http://127.0.0.1:8200',
  };
  for (const [text, canonical] of Object.entries(same)) {
    t.equal(canonicalKeyUri(text), canonical);
    t.equal(canonicalKeyUri(canonical), canonical);
  }
  const none = [
    'hashivault:disks',
    'hashivault://',
    'hashivault://a/b',
    'hashivault://..',
    'hashivault://x?mount=../sys',
    'hashivault://x?mount=a//b',
    'hashivault://x?namespace=..',
    'hashivault://x?addr=http://vault:8200',
    'hashivault://x?addr=https://u:p4711@vault',
    'hashivault://x?addr=https://vault/path',
    'hashivault://x?addr=file:///etc/passwd',
    'hashivault://x?token=p4711',
  ];
  for (const text of none) {
    t.throws(() => canonicalKeyUri(text), { code: 'KEY_URI_SYNTAX', message: /^((?!4711).)*$/ }, text);
  }
});

t.test('sends no token to a server that a disk names and nobody here does', async (t) => {
  const { vault, env } = await vaultWithKey(t);
  const theirs = `hashivault://disks?addr=${vault.origin}`;
  const elsewhere = { ...env, VAULT_ADDR: 'https://vault.invalid' };
  await t.rejects(open(elsewhere, theirs), { code: 'KMS_NOT_VOUCHED' });
  t.equal(vault.asked.length, 0);
  for (const provider of [await open(elsewhere, theirs, true), await open(env, theirs)]) {
    t.equal(
      (await provider.describeKey(undefined, SOON)).state,
      'enabled',
      'the owner or VAULT_ADDR names it, too',
    );
  }
});

t.test('is told where Vault is, and not in plain text over a network', async (t) => {
  await t.rejects(open({}), { code: 'KMS_SETTING' });
  await t.rejects(open({ VAULT_ADDR: 'http://vault:8200' }), { code: 'KMS_SETTING' });
  await t.rejects(open({ VAULT_ADDR: 'https://vault', VAULT_CACERT: '/nonexistent' }), {
    code: 'KMS_SETTING',
  });
});

t.test('shows a Vault that asks for it a certificate', async (t) => {
  const { caFile, good } = makeAuthority(await tempPool(t));
  const server = await FaultyServer.start(t, good, readFileSync(caFile));
  server.manner = reply(says(503, 'Vault is sealed'));
  const env = { VAULT_ADDR: server.origin, VAULT_TOKEN: TOKEN, VAULT_CACERT: caFile };
  await rejectsWith(t, (await open(env)).describeKey(undefined, SOON), 'KMS_CONNECTION');
  const [certFile, keyFile] = [join(dirname(caFile), 'good.pem'), join(dirname(caFile), 'key.pem')];
  const known = await open({ ...env, VAULT_CLIENT_CERT: certFile, VAULT_CLIENT_KEY: keyFile });
  await rejectsWith(t, known.describeKey(undefined, SOON), 'KMS_SERVER_ERROR');
  await known.close();
});

t.test('does not make a key that is not there by using it', async (t) => {
  const { vault, env } = await vaultWithKey(t);
  const provider = await open(env, 'hashivault://mistyped');
  await rejectsWith(t, provider.generateDataKey(64, CONTEXT, SOON), 'KMS_KEY_NOT_FOUND');
  t.notOk(vault.keys.has('mistyped'));
});

t.test('refuses keys that bind nothing to a disk', async (t) => {
  const { key, env } = await vaultWithKey(t);
  const provider = await open(env);
  for (const over of [{ type: 'rsa-4096' }, { type: 'aes256-gcm96', derived: true }]) {
    Object.assign(key, over);
    await rejectsWith(t, provider.generateDataKey(64, CONTEXT, SOON), 'KMS_UNSUPPORTED_KEY');
  }
});

t.test('a version below min_decryption_version is as disabled, until it is rewrapped', async (t) => {
  const { key, env } = await vaultWithKey(t);
  const provider = await open(env);
  if (!canRewrap(provider)) return t.fail('it rewraps');
  const { plaintext, wrapped } = await provider.generateDataKey(64, CONTEXT, SOON);
  key.versions.push(randomBytes(32));
  const anew = await provider.rewrap(wrapped, CONTEXT, SOON);
  t.equal(anew.keyVersion, '2');
  key.minDecryptionVersion = 2;
  await rejectsWith(t, provider.unwrap(wrapped, CONTEXT, SOON), 'KMS_KEY_DISABLED');
  const described = await provider.describeKey(wrapped.keyId, SOON);
  t.equal(failureOfDescription(described, '1', 'x')?.code, 'KMS_KEY_DISABLED', 'its check says so, too');
  t.equal(failureOfDescription(described, '2', 'x'), undefined);
  t.ok(plaintext.equals(await provider.unwrap(anew, CONTEXT, SOON)));
  key.minDecryptionVersion = 1;
  t.ok(plaintext.equals(await provider.unwrap(wrapped, CONTEXT, SOON)), 'and can be undone');
});

t.test('logs in by AppRole and by Kubernetes, and again when its token has ended', async (t) => {
  const { vault } = await vaultWithKey(t);
  const dir = await tempPool(t);
  const file = join(dir, 'secret');
  const env = { VAULT_ADDR: vault.origin };
  const logins: [string, NodeJS.ProcessEnv, Set<string>][] = [
    ['approle', { VAULT_ROLE_ID: 'r', VAULT_SECRET_ID_FILE: file }, vault.secretIds],
    ['kubernetes', { VAULT_KUBERNETES_ROLE: 'r', VAULT_KUBERNETES_TOKEN_FILE: file }, vault.jwts],
  ];
  for (const [name, settings, known] of logins) {
    const provider = await open({ ...env, ...settings });
    await rejectsWith(t, provider.describeKey(undefined, SOON), 'KMS_CREDENTIALS', 'no file');
    writeFileSync(file, 'first\n');
    await rejectsWith(t, provider.describeKey(undefined, SOON), 'KMS_ACCESS_DENIED', 'refused');
    known.add('first');
    vault.asked.length = 0;
    await Promise.all([1, 2, 3].map(() => provider.describeKey(undefined, SOON)));
    t.equal(logIns(vault, name), 1, 'one login for all that ask');
    vault.tokens.clear();
    t.equal((await provider.describeKey(undefined, SOON)).state, 'enabled');
    t.equal(logIns(vault, name), 2);
    vault.tokens.clear();
    known.clear();
    await rejectsWith(t, provider.describeKey(undefined, SOON), 'KMS_ACCESS_DENIED', 'taken away');
    rmSync(file);
    await provider.close();
  }
});

const logIns = (vault: FakeVault, name: string): number =>
  vault.asked.filter((line) => line === `POST auth/${name}/login`).length;

t.test('reads a token file again when its token is refused', async (t) => {
  const { vault, token } = await vaultWithKey(t);
  const file = join(await tempPool(t), 'token');
  writeFileSync(file, token);
  const provider = await open({ VAULT_ADDR: vault.origin, VAULT_TOKEN_FILE: file });
  t.equal((await provider.describeKey(undefined, SOON)).state, 'enabled');
  vault.tokens.delete(token);
  await rejectsWith(t, provider.describeKey(undefined, SOON), 'KMS_ACCESS_DENIED');
  writeFileSync(file, vault.addToken());
  t.equal((await provider.describeKey(undefined, SOON)).state, 'enabled');
});

t.test('renews a token in time, and tells one that has ended from one that was taken away', async (t) => {
  const { vault } = await vaultWithKey(t);
  const now = performance.now.bind(performance);
  t.teardown(() => {
    performance.now = now;
  });
  /** What a question ends in that is asked `afterMs` after the first. */
  const later = async (afterMs: number, renewable: boolean, revoked: boolean): Promise<Code | 'none'> => {
    const token = vault.addToken(3600, renewable);
    const provider = await open({ VAULT_ADDR: vault.origin, VAULT_TOKEN: token });
    await provider.describeKey(undefined, SOON);
    if (revoked) vault.tokens.delete(token);
    performance.now = () => now() + afterMs;
    vault.asked.length = 0;
    const failure = await provider.describeKey(undefined, SOON).then(
      () => 'none' as const,
      (error) => error.code as Code,
    );
    performance.now = now;
    await provider.close();
    return failure;
  };
  const renewal = 'POST auth/token/renew-self';
  t.equal(await later(1_700_000, true, false), 'none');
  t.notOk(vault.asked.includes(renewal), 'not before half of its time');
  t.equal(await later(1_900_000, true, false), 'none');
  t.ok(vault.asked.includes(renewal));
  t.equal(await later(1_900_000, false, false), 'none', 'one that cannot be renewed is used to its end');
  t.equal(await later(3_700_000, false, true), 'KMS_CREDENTIALS', 'its time was over');
  t.equal(await later(1_900_000, false, true), 'KMS_ACCESS_DENIED', 'somebody revoked it');
});

t.test('a policy that forbids the key is a decision', async (t) => {
  const { vault, token, env } = await vaultWithKey(t);
  const provider = await open(env);
  const { wrapped } = await provider.generateDataKey(64, CONTEXT, SOON);
  Object.assign(vault.tokens.get(token) ?? {}, { mayUse: false });
  await rejectsWith(t, provider.unwrap(wrapped, CONTEXT, SOON), 'KMS_ACCESS_DENIED');
  await rejectsWith(t, provider.describeKey(wrapped.keyId, SOON), 'KMS_ACCESS_DENIED');
});

t.test('asks in the namespace that the URI or VAULT_NAMESPACE names', async (t) => {
  const { vault, env } = await vaultWithKey(t);
  vault.namespace = 'team/a';
  await rejectsWith(t, (await open(env)).describeKey(undefined, SOON), 'KMS_KEY_NOT_FOUND');
  const byUri = await open(env, 'hashivault://disks?namespace=team/a');
  t.equal((await byUri.describeKey(undefined, SOON)).keyId, 'team/a/transit/disks');
  const bySetting = await open({ ...env, VAULT_NAMESPACE: '/team/a/' });
  t.equal((await bySetting.describeKey(undefined, SOON)).keyId, 'team/a/transit/disks');
});
