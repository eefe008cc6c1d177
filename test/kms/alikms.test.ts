import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';
import type { NewAccessKey } from '#sealdisk/kms/local/access-keys.js';
import { canRewrap } from '#sealdisk/kms/provider.js';
import { canonicalKeyUri, openProvider } from '#sealdisk/kms/registry.js';
import { providerContract, type Rig, rejectsWith } from './contract.js';
import { type FaceRig, startFace } from './face.js';
import { failureContract } from './failure-contract.js';
import { FaultyServer, type Reply, reply } from './faulty-server.js';
import { tempPool } from './pool.js';

const SOON = { timeoutMs: 10_000 };
const CONTEXT = { 'sealdisk:disk': '6f9a8b5e-0c3e-4a52-9c50-3b1f0d3f9b01' };
const KEY_ID = '6f9a8b5e-0c3e-4a52-9c50-3b1f0d3f9b02';
const FAKE = {
  ALIBABA_CLOUD_ACCESS_KEY_ID: 'SDAKFAKEFAKEFAKE',
  ALIBABA_CLOUD_ACCESS_KEY_SECRET: 'c2VjcmV0LW9mLXRoZS1yaWc',
};

/** Alibaba's package looks in the environment of the process; nowhere else is anything here. */
function use(env: NodeJS.ProcessEnv): void {
  for (const name of Object.keys(process.env))
    if (name.startsWith('ALIBABA_CLOUD_')) delete process.env[name];
  const nowhere = { ALIBABA_CLOUD_ECS_METADATA_DISABLED: 'true', HOME: '/nonexistent' };
  Object.assign(process.env, nowhere, env);
}

const environmentOf = ({ info, accessKeySecret, securityToken }: NewAccessKey): NodeJS.ProcessEnv => ({
  ALIBABA_CLOUD_ACCESS_KEY_ID: info.accessKeyId,
  ALIBABA_CLOUD_ACCESS_KEY_SECRET: accessKeySecret,
  ...(securityToken !== null && { ALIBABA_CLOUD_SECURITY_TOKEN: securityToken }),
});

function uriOf(origin: string, key: string): string {
  const { protocol, host } = new URL(origin);
  return `alikms:///${key}?region=cn-hangzhou&endpoint=${host}&protocol=${protocol.slice(0, -1)}`;
}

const open = (uri: string, env: NodeJS.ProcessEnv = {}, namedByOwner = true) =>
  openProvider(uri, { poolDir: '/nonexistent', env, namedByOwner });

t.test('the contract', async (t) => {
  const face = await startFace(t);
  use(environmentOf(face.accessKey));
  let made = 0;
  providerContract(t, async () => startRig(face, `alias/k${made++}`));
});

async function startRig({ kms, serving }: FaceRig, alias: string): Promise<Rig> {
  await kms.createKey({ alias });
  const uri = uriOf(serving.origin, alias);
  const [provider, other] = [await open(uri), await open(uri)];
  return {
    provider,
    other,
    disable: () => kms.disableKey(alias),
    enable: () => kms.enableKey(alias),
    scheduleDeletion: () => kms.scheduleDeletion(alias, 7),
    cancelDeletion: () => kms.cancelDeletion(alias),
    tellsContext: false,
    stop: async () => {
      await provider.close();
      await other.close();
    },
  };
}

const says = (Code: string, status: number): Reply => ({
  status,
  body: JSON.stringify({ Code, Message: 'no', RequestId: 'r', HostId: 'h', Recommend: '' }),
});

t.test('failures', async (t) => {
  use(FAKE);
  failureContract(t, {
    open: (origin, caFile) => open(uriOf(origin, 'alias/x'), { SEALDISK_ALIKMS_CA_FILE: caFile }),
    wrapped: { keyId: KEY_ID, keyVersion: '1', ciphertext: randomBytes(92) },
    secrets: [FAKE.ALIBABA_CLOUD_ACCESS_KEY_SECRET],
    replies: [
      ['disabled', says('Rejected.Disabled', 409), 'KMS_KEY_DISABLED'],
      ['pending deletion', says('Rejected.PendingDeletion', 409), 'KMS_KEY_PENDING_DELETION'],
      ['pending import', says('Rejected.PendingImport', 409), 'KMS_KEY_PENDING_IMPORT'],
      ['no key', says('Forbidden.KeyNotFound', 404), 'KMS_KEY_NOT_FOUND'],
      ['no alias', says('Forbidden.AliasNotFound', 404), 'KMS_KEY_NOT_FOUND'],
      ['denied', says('Forbidden.NoPermission', 403), 'KMS_ACCESS_DENIED'],
      ['an access key that is gone', says('InvalidAccessKeyId.NotFound', 404), 'KMS_ACCESS_DENIED'],
      ['a session that has ended', says('InvalidSecurityToken.Expired', 400), 'KMS_CREDENTIALS'],
      ['a wrong secret', says('SignatureDoesNotMatch', 400), 'KMS_CREDENTIALS'],
      ['a wrong clock', says('InvalidTimeStamp.Expired', 400), 'KMS_CREDENTIALS'],
      ['throttled', says('Rejected.Throttling', 429), 'KMS_THROTTLED'],
      ['throttled by the gateway', says('Throttling.User', 400), 'KMS_THROTTLED'],
      ['internal', says('InternalFailure', 500), 'KMS_SERVER_ERROR'],
      ['away', says('ServiceUnavailableTemporary', 503), 'KMS_SERVER_ERROR'],
      ['an asymmetric key', says('Rejected.UnsupportedOperation', 400), 'KMS_UNSUPPORTED_KEY'],
      ['an unknown reason', says('NobodyKnows', 400), 'KMS_BAD_REPLY'],
      ['a failure that looks like success', says('NobodyKnows', 200), 'KMS_BAD_REPLY'],
    ],
    wrongShapes: [
      ['no members', '{"RequestId":"r"}'],
      ['a plaintext of a wrong type', `{"KeyId":"${KEY_ID}","CiphertextBlob":"AAAA","Plaintext":17}`],
      ['no plaintext', `{"KeyId":"${KEY_ID}","CiphertextBlob":"AAAA"}`],
      ['an empty plaintext', `{"KeyId":"${KEY_ID}","CiphertextBlob":"AAAA","Plaintext":""}`],
      ['a plaintext that is no base64', `{"KeyId":"${KEY_ID}","CiphertextBlob":"AAAA","Plaintext":"%%%"}`],
    ],
  });
});

t.test('a reply about another key is none about this one', async (t) => {
  use(FAKE);
  const server = await FaultyServer.start(t);
  const provider = await open(uriOf(server.origin, 'alias/x'));
  t.teardown(() => provider.close());
  const wrapped = { keyId: KEY_ID, keyVersion: '1', ciphertext: randomBytes(92) };
  server.manner = reply({ status: 200, body: `{"KeyId":"other","Plaintext":"AAAA"}` });
  await rejectsWith(t, provider.unwrap(wrapped, CONTEXT, SOON), 'KMS_INVALID_CIPHERTEXT');
  const signs = { KeyId: KEY_ID, KeyState: 'Enabled', KeyUsage: 'SIGN/VERIFY' };
  server.manner = reply({ status: 200, body: JSON.stringify({ KeyMetadata: signs }) });
  await rejectsWith(t, provider.describeKey(undefined, SOON), 'KMS_UNSUPPORTED_KEY');
});

t.test('reads a URI strictly, and spells it one way', async (t) => {
  const plain = 'alikms:///alias/x?region=cn-hangzhou';
  t.equal(canonicalKeyUri(plain), plain);
  t.equal(canonicalKeyUri(`${plain}&endpoint=kms.cn-hangzhou.aliyuncs.com`), plain);
  t.equal(
    canonicalKeyUri('ALIKMS:///key-hzz123?endpoint=KMS.test:8443&protocol=https&region=cn-hangzhou'),
    'alikms:///key-hzz123?region=cn-hangzhou&endpoint=kms.test:8443',
  );
  for (const bad of [
    'alikms:///alias/x',
    'alikms://alias/x?region=cn-hangzhou',
    'alikms:///x?region=cn-hangzhou',
    'alikms:///alias/x?region=evil.com/',
    `${plain}&endpoint=http://127.0.0.1:1`,
    `${plain}&endpoint=u:p@kms.test`,
    `${plain}&endpoint=kms.test&protocol=http`,
    `${plain}&protocol=http`,
    `${plain}&protocol=ftp`,
    `${plain}&accessKeySecret=x`,
  ]) {
    t.throws(() => canonicalKeyUri(bad), { code: 'KEY_URI_SYNTAX' }, bad);
  }
});

t.test('asks no server but Alibaba and this machine by the word of a disk alone', async (t) => {
  use(FAKE);
  const own = 'alikms:///alias/x?region=cn-hangzhou';
  const here = `${own}&endpoint=127.0.0.1:9&protocol=http`;
  for (const uri of [own, `${own}&endpoint=kms-vpc.cn-hangzhou.aliyuncs.com`, here]) {
    await (await open(uri, {}, false)).close();
  }
  const elsewhere = `${own}&endpoint=kms.test:8443`;
  await t.rejects(open(elsewhere, {}, false), { code: 'KMS_NOT_VOUCHED' });
  await (await open(elsewhere, { SEALDISK_ALIKMS_ENDPOINT: 'kms.test:8443' }, false)).close();
  await t.rejects(open(own, { SEALDISK_ALIKMS_CA_FILE: '/nonexistent' }), { code: 'KMS_SETTING' });
});

t.test('an access key that ends, is taken away or may not is told apart', async (t) => {
  const face = await startFace(t);
  await face.kms.createKey({ alias: 'alias/x' });
  const uri = uriOf(face.serving.origin, 'alias/x');
  const asked = async (env: NodeJS.ProcessEnv) => {
    use(env);
    const provider = await open(uri);
    t.teardown(() => provider.close());
    return provider.generateDataKey(64, CONTEXT, SOON);
  };
  await rejectsWith(t, asked({}), 'KMS_CREDENTIALS', 'none at all');
  const ended = await face.keys.create({ expiresAt: new Date(Date.now() - 1000).toISOString() });
  await rejectsWith(t, asked(environmentOf(ended)), 'KMS_CREDENTIALS');
  const lasting = await face.keys.create({ expiresAt: new Date(Date.now() + 3_600_000).toISOString() });
  t.equal((await asked(environmentOf(lasting))).plaintext.length, 64, 'a temporary one, with its token');
  const narrow = await face.allowed({ action: 'Decrypt', key: null });
  await rejectsWith(t, asked(environmentOf(narrow)), 'KMS_ACCESS_DENIED');
  await rejectsWith(
    t,
    asked({ ...environmentOf(narrow), ALIBABA_CLOUD_ACCESS_KEY_SECRET: 'x' }),
    'KMS_CREDENTIALS',
  );
  await face.keys.delete(narrow.info.accessKeyId);
  await rejectsWith(t, asked(environmentOf(narrow)), 'KMS_ACCESS_DENIED');
});

t.test('credentials that come later are found then', async (t) => {
  const face = await startFace(t);
  await face.kms.createKey({ alias: 'alias/x' });
  use({});
  const provider = await open(uriOf(face.serving.origin, 'alias/x'));
  t.teardown(() => provider.close());
  await rejectsWith(t, provider.describeKey(undefined, SOON), 'KMS_CREDENTIALS');
  use(environmentOf(face.accessKey));
  t.equal((await provider.describeKey(undefined, SOON)).state, 'enabled');
});

t.test('takes the credentials of a URI, as those of an instance are handed on', async (t) => {
  const face = await startFace(t);
  await face.kms.createKey({ alias: 'alias/x' });
  const { info, accessKeySecret, securityToken } = await face.keys.create({
    expiresAt: new Date(Date.now() + 3_600_000).toISOString(),
  });
  const said = {
    Code: 'Success',
    AccessKeyId: info.accessKeyId,
    AccessKeySecret: accessKeySecret,
    SecurityToken: securityToken,
    Expiration: info.expiresAt,
  };
  const server = await FaultyServer.start(t);
  server.manner = reply({ status: 200, body: JSON.stringify(said) });
  use({ ALIBABA_CLOUD_CREDENTIALS_URI: server.origin });
  const provider = await open(uriOf(face.serving.origin, 'alias/x'));
  t.teardown(() => provider.close());
  t.equal((await provider.describeKey(undefined, SOON)).state, 'enabled');
  t.equal(server.requests, 1);
});

const IN_NAMESPACE = 'ip link set lo up && ip addr add 100.100.100.200/32 dev lo && exec "$0" "$@"';

t.test('takes the RAM role of the ECS instance that it runs on', async (t) => {
  use({});
  const child = fileURLToPath(new URL('./ecs-instance-child.js', import.meta.url));
  const words = ['-rn', 'sh', '-c', IN_NAMESPACE, process.execPath, child, await tempPool(t)];
  const { ALIBABA_CLOUD_ECS_METADATA_DISABLED: _, ...env } = process.env;
  const { stdout, stderr } = await promisify(execFile)('unshare', words, { env: { ...env, DEBUG: '*' } });
  t.equal(stdout, 'enabled');
  t.notMatch(stderr, /httpx/, 'what was asked and answered is told to nobody');
});

t.test('a rewrap takes the key that the alias names now', async (t) => {
  const face = await startFace(t);
  use(environmentOf(face.accessKey));
  const first = await face.kms.createKey({ alias: 'alias/x' });
  const provider = await open(uriOf(face.serving.origin, 'alias/x'));
  const byId = await open(uriOf(face.serving.origin, first.keyId));
  t.teardown(() => Promise.all([provider.close(), byId.close()]));
  const { plaintext, wrapped } = await provider.generateDataKey(64, CONTEXT, SOON);
  await face.kms.rotateKey('alias/x');
  if (!canRewrap(provider)) return t.fail('it rewraps');
  t.match(await provider.rewrap(wrapped, CONTEXT, SOON), { keyId: first.keyId, keyVersion: '2' });
  const { keyId } = await face.kms.createKey();
  await face.kms.updateAlias('alias/x', keyId);
  const anew = await provider.rewrap(wrapped, CONTEXT, SOON);
  t.equal(anew.keyId, keyId);
  t.ok(plaintext.equals(await provider.unwrap(anew, CONTEXT, SOON)));
  t.ok(plaintext.equals(await provider.unwrap(wrapped, CONTEXT, SOON)), 'the old one still unwraps');
  await rejectsWith(t, provider.rewrap(wrapped, { a: 'b' }, SOON), 'KMS_INVALID_CIPHERTEXT');
  await rejectsWith(t, byId.unwrap(anew, CONTEXT, SOON), 'KMS_INVALID_CIPHERTEXT', 'of another key');
  const service = await open(uriOf(face.serving.origin, 'alias/acs/ecs'));
  t.teardown(() => service.close());
  t.equal((await service.describeKey(undefined, SOON)).serviceKey, true);
});
