import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { canRewrap } from '#sealdisk/kms/provider.js';
import { canonicalKeyUri, openProvider } from '#sealdisk/kms/registry.js';
import { providerContract, type Rig, rejectsWith } from './contract.js';
import { environmentOf, type FaceRig, startFace } from './face.js';
import { failureContract } from './failure-contract.js';
import { makeAuthority, type Reply } from './faulty-server.js';

const SOON = { timeoutMs: 10_000 };
const CONTEXT = { 'sealdisk:disk': '6f9a8b5e-0c3e-4a52-9c50-3b1f0d3f9b01' };
const REGION = 'eu-central-1';
const FAKE = { AWS_ACCESS_KEY_ID: 'SDAKFAKEFAKEFAKE', AWS_SECRET_ACCESS_KEY: 'c2VjcmV0LW9mLXRoZS1yaWc' };

/** The SDK looks for credentials in the environment of the process, and nowhere else here. */
function use(env: NodeJS.ProcessEnv): void {
  for (const name of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN'])
    delete process.env[name];
  const nowhere = { AWS_EC2_METADATA_DISABLED: 'true', AWS_CONFIG_FILE: '/dev/null', HOME: '/nonexistent' };
  Object.assign(process.env, nowhere, { AWS_SHARED_CREDENTIALS_FILE: '/dev/null' }, env);
}

const uriOf = (origin: string, key: string): string => `awskms:///${key}?region=${REGION}&endpoint=${origin}`;
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

const says = (type: string, status = 400, message = 'no'): Reply => ({
  status,
  body: JSON.stringify({ __type: type, message }),
});

const ARN = `arn:aws:kms:${REGION}:000000000000:key/6f9a8b5e-0c3e-4a52-9c50-3b1f0d3f9b02`;

t.test('failures', async (t) => {
  use(FAKE);
  failureContract(t, {
    open: (origin, caFile) => open(uriOf(origin, 'alias/x'), { AWS_CA_BUNDLE: caFile }),
    wrapped: { keyId: ARN, keyVersion: '1', ciphertext: randomBytes(92) },
    secrets: [FAKE.AWS_SECRET_ACCESS_KEY],
    replies: [
      ['disabled', says('DisabledException'), 'KMS_KEY_DISABLED'],
      ['not there', says('NotFoundException'), 'KMS_KEY_NOT_FOUND'],
      ['with a namespace', says('com.amazonaws.kms#NotFoundException'), 'KMS_KEY_NOT_FOUND'],
      ['denied', says('AccessDeniedException'), 'KMS_ACCESS_DENIED'],
      ['an access key that is gone', says('UnrecognizedClientException'), 'KMS_ACCESS_DENIED'],
      ['a session that has ended', says('ExpiredTokenException'), 'KMS_CREDENTIALS'],
      ['a wrong secret', says('InvalidSignatureException'), 'KMS_CREDENTIALS'],
      ['throttled', says('ThrottlingException'), 'KMS_THROTTLED'],
      ['internal', says('KMSInternalException', 500), 'KMS_SERVER_ERROR'],
      ['away', says('KeyUnavailableException', 500), 'KMS_SERVER_ERROR'],
      ['slow', says('DependencyTimeoutException', 503), 'KMS_SERVER_ERROR'],
      ['another ciphertext', says('InvalidCiphertextException'), 'KMS_INVALID_CIPHERTEXT'],
      ['another key', says('IncorrectKeyException'), 'KMS_INVALID_CIPHERTEXT'],
      ['an asymmetric key', says('InvalidKeyUsageException'), 'KMS_UNSUPPORTED_KEY'],
      ['an unknown reason', says('NobodyKnowsException'), 'KMS_BAD_REPLY'],
    ],
    wrongShapes: [
      ['no members', '{}'],
      ['a plaintext of a wrong type', '{"KeyId":"k","CiphertextBlob":"AAAA","Plaintext":17}'],
      ['no plaintext', '{"KeyId":"k","CiphertextBlob":"AAAA"}'],
      ['an empty plaintext', '{"KeyId":"k","CiphertextBlob":"AAAA","Plaintext":""}'],
      ['a plaintext that is no base64', '{"KeyId":"k","CiphertextBlob":"AAAA","Plaintext":"%%%"}'],
    ],
  });
});

t.test('reads a URI strictly, and spells it one way', async (t) => {
  const arn = `awskms:///${ARN}`;
  t.equal(canonicalKeyUri('awskms:///alias/x?region=eu-west-1'), 'awskms:///alias/x?region=eu-west-1');
  t.equal(
    canonicalKeyUri('AWSKMS:///alias/x?profile=a%40b&endpoint=https://kms.test/&region=eu-west-1'),
    'awskms:///alias/x?region=eu-west-1&endpoint=https://kms.test&profile=a%40b',
  );
  t.equal(canonicalKeyUri(arn), `${arn}?region=${REGION}`);
  for (const bad of [
    'awskms:///alias/x',
    'awskms://alias/x?region=eu-west-1',
    'awskms:///x?region=eu-west-1',
    'awskms:///alias/x?region=evil.com/',
    'awskms:///alias/x?region=eu-west-1&endpoint=http://kms.test',
    'awskms:///alias/x?region=eu-west-1&endpoint=https://u:p@kms.test',
    'awskms:///alias/x?region=eu-west-1&secret-access-key=x',
    `${arn}?region=us-east-1`,
  ]) {
    t.throws(() => canonicalKeyUri(bad), { code: 'KEY_URI_SYNTAX' }, bad);
  }
});

t.test('asks no server, and as nobody, by the word of a disk alone', async (t) => {
  use(FAKE);
  const elsewhere = 'awskms:///alias/x?region=eu-west-1&endpoint=https://kms.test';
  await t.rejects(open(elsewhere, {}, false), { code: 'KMS_NOT_VOUCHED' });
  await (await open(elsewhere, { AWS_ENDPOINT_URL_KMS: 'https://kms.test/' }, false)).close();
  const here = 'awskms:///alias/x?region=eu-west-1&endpoint=http://127.0.0.1:9';
  await (await open(here, {}, false)).close();
  const other = 'awskms:///alias/x?region=eu-west-1&profile=admin';
  await t.rejects(open(other, {}, false), { code: 'KMS_NOT_VOUCHED' });
  await (await open(other, { AWS_PROFILE: 'admin' }, false)).close();
  await t.rejects(open(elsewhere, { AWS_CA_BUNDLE: '/nonexistent' }), { code: 'KMS_SETTING' });
});

t.test('without credentials nobody has decided anything', async (t) => {
  const face = await startFace(t);
  await face.kms.createKey({ alias: 'alias/x' });
  use({});
  const provider = await open(uriOf(face.serving.origin, 'alias/x'));
  t.teardown(() => provider.close());
  await rejectsWith(t, provider.describeKey(undefined, SOON), 'KMS_CREDENTIALS');
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
  const ended = await face.keys.create({ expiresAt: new Date(Date.now() - 1000).toISOString() });
  await rejectsWith(t, asked(environmentOf(ended)), 'KMS_CREDENTIALS');
  const lasting = await face.keys.create({ expiresAt: new Date(Date.now() + 3_600_000).toISOString() });
  t.equal((await asked(environmentOf(lasting))).plaintext.length, 64, 'a temporary one, with its token');
  await rejectsWith(t, asked({ ...environmentOf(lasting), AWS_SESSION_TOKEN: 'x' }), 'KMS_ACCESS_DENIED');
  const narrow = await face.allowed({ action: 'Decrypt', key: null });
  await rejectsWith(t, asked(environmentOf(narrow)), 'KMS_ACCESS_DENIED');
  const wrong = { ...environmentOf(lasting), AWS_SECRET_ACCESS_KEY: 'x' };
  await rejectsWith(t, asked(wrong), 'KMS_CREDENTIALS');
  await face.keys.delete(narrow.info.accessKeyId);
  await rejectsWith(t, asked(environmentOf(narrow)), 'KMS_ACCESS_DENIED');
});

t.test('a rewrap takes the key that the alias names now', async (t) => {
  const face = await startFace(t);
  use(environmentOf(face.accessKey));
  await face.kms.createKey({ alias: 'alias/x' });
  const provider = await open(uriOf(face.serving.origin, 'alias/x'));
  t.teardown(() => provider.close());
  const { plaintext, wrapped } = await provider.generateDataKey(64, CONTEXT, SOON);
  const { keyId } = await face.kms.createKey();
  await face.kms.updateAlias('alias/x', keyId);
  if (!canRewrap(provider)) return t.fail('it rewraps');
  const anew = await provider.rewrap(wrapped, CONTEXT, SOON);
  t.ok(anew.keyId.endsWith(keyId));
  t.ok(plaintext.equals(await provider.unwrap(anew, CONTEXT, SOON)));
  t.ok(plaintext.equals(await provider.unwrap(wrapped, CONTEXT, SOON)), 'the old one still unwraps');
  await rejectsWith(t, provider.rewrap(wrapped, { a: 'b' }, SOON), 'KMS_INVALID_CIPHERTEXT');
});

/** A program of its own: Node reads NODE_EXTRA_CA_CERTS at its start only. */
const PROGRAM = `
const { openProvider } = await import('#sealdisk/kms/registry.js');
const provider = await openProvider(process.argv[1], { poolDir: '/', env: process.env, namedByOwner: true });
const { keyId, state } = await provider.describeKey(undefined, { timeoutMs: 10000 });
process.stdout.write(state);
await provider.close();`;

t.test('trusts a CA of the house, given as Node or as AWS takes it', async (t) => {
  const plain = await startFace(t);
  const { caFile, good } = makeAuthority(plain.pool);
  const [certPath, keyPath] = [join(plain.pool, 'face.pem'), join(plain.pool, 'face-key.pem')];
  writeFileSync(certPath, good.cert);
  writeFileSync(keyPath, good.key, { mode: 0o600 });
  const face = await startFace(t, { tls: { certPath, keyPath } });
  await face.kms.createKey({ alias: 'alias/x' });
  const uri = uriOf(face.serving.origin, 'alias/x');
  t.match(uri, /https:/);
  use(environmentOf(face.accessKey));
  const untrusting = await open(uri);
  await rejectsWith(t, untrusting.describeKey(undefined, SOON), 'KMS_CONNECTION');
  await untrusting.close();
  const provider = await open(uri, { AWS_CA_BUNDLE: caFile });
  t.equal((await provider.describeKey(undefined, SOON)).state, 'enabled');
  await provider.close();
  const env = { ...process.env, NODE_EXTRA_CA_CERTS: caFile, AWS_CA_BUNDLE: '' };
  const words = ['--input-type=module', '-e', PROGRAM, uri];
  const { stdout } = await promisify(execFile)(process.execPath, words, { env });
  t.equal(stdout, 'enabled');
});
