/** The Alibaba Cloud KMS protocol, by Alibaba's own clients: every operation, and the failures that are documented. */

import { constants, createPublicKey, publicEncrypt, randomBytes } from 'node:crypto';
import t, { type Test } from 'tap';
import { aliyunOperations } from '#sealdisk/kms/server/aliyun/protocol.js';
import { type Answer, type Call, oldKms, openApi, popCore } from './alicloud.js';
import { type FaceRig, startFace } from './face.js';

const DAY_S = 86_400;
const NOBODY = '6f9a8b5e-0c3e-4a52-9c50-3b1f0d3f9b02';
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/;

/** What a call answers; it must not fail. */
async function ok(t: Test, call: Call, action: string, parameters: Answer = {}): Promise<Answer> {
  asked.add(action);
  const outcome = await call(action, parameters);
  if (!('ok' in outcome)) {
    t.fail(`${action}: ${outcome.status} ${outcome.code}`);
    return {};
  }
  t.type(outcome.ok.RequestId ?? outcome.ok.requestId, 'string', action);
  return outcome.ok;
}

/** A call that must fail with this code and status. */
async function no(t: Test, call: Call, action: string, parameters: Answer, code: string, status: number) {
  const outcome = await call(action, parameters);
  const found = 'ok' in outcome ? 'success' : `${outcome.status} ${outcome.code}`;
  t.equal(found, `${status} ${code}`, `${action} ${Object.keys(parameters)}`);
}

const asked = new Set<string>();
const metadata = (answer: Answer) => (answer.KeyMetadata ?? {}) as Record<string, string>;
const at = (answer: Answer, ...path: string[]): unknown =>
  path.reduce<unknown>((each, name) => (each as Answer | undefined)?.[name], answer);
const made = async (t: Test, call: Call, parameters: Answer = {}): Promise<string> =>
  metadata(await ok(t, call, 'CreateKey', parameters)).KeyId ?? '';

const CLIENTS: readonly [string, (face: FaceRig) => Call][] = [
  ['openapi-client', ({ accessKey, serving }) => openApi(accessKey, serving.origin, 'form')],
  ['pop-core', ({ accessKey, serving }) => popCore(accessKey, serving.origin, 'POST')],
  ['kms20160120', ({ accessKey, serving }) => oldKms(accessKey, serving.origin)],
];

for (const [name, clientOf] of CLIENTS) t.test(`every operation, by ${name}`, (t) => everything(t, clientOf));

async function everything(t: Test, clientOf: (face: FaceRig) => Call): Promise<void> {
  const face = await startFace(t);
  const call = clientOf(face);
  asked.clear();

  t.test('keys', async (t) => {
    const created = metadata(await ok(t, call, 'CreateKey', { Description: 'd', KeySpec: 'Aliyun_AES_256' }));
    const { KeyId = '' } = created;
    t.match(created, {
      KeyState: 'Enabled',
      KeyUsage: 'ENCRYPT/DECRYPT',
      Origin: 'Aliyun_KMS',
      Description: 'd',
    });
    t.match(created, { CreationDate: TIME, PrimaryKeyVersion: '1', DeletionProtection: 'Disabled' });
    t.equal(created.Arn, `acs:kms:cn-hangzhou:0000000000000000:key/${KeyId}`);
    const state = async (name = KeyId) =>
      metadata(await ok(t, call, 'DescribeKey', { KeyId: name })).KeyState;
    await ok(t, call, 'DisableKey', { KeyId });
    t.equal(await state(created.Arn), 'Disabled', 'named by its ARN');
    await ok(t, call, 'EnableKey', { KeyId });
    t.equal(await state(), 'Enabled');
    const ProtectedResourceArn = created.Arn;
    await ok(t, call, 'SetDeletionProtection', { ProtectedResourceArn, EnableDeletionProtection: true });
    await no(
      t,
      call,
      'ScheduleKeyDeletion',
      { KeyId, PendingWindowInDays: 7 },
      'Rejected.DeletionProtected',
      409,
    );
    await ok(t, call, 'SetDeletionProtection', { KeyId, EnableDeletionProtection: false });
    for (const PendingWindowInDays of [6, 367]) {
      await no(t, call, 'ScheduleKeyDeletion', { KeyId, PendingWindowInDays }, 'InvalidParameter', 400);
    }
    await ok(t, call, 'ScheduleKeyDeletion', { KeyId, PendingWindowInDays: 366 });
    const pending = metadata(await ok(t, call, 'DescribeKey', { KeyId }));
    t.match(pending, { KeyState: 'PendingDeletion', DeleteDate: TIME });
    for (const action of ['EnableKey', 'DisableKey']) {
      await no(t, call, action, { KeyId }, 'Rejected.StateModifiedFailed', 409);
    }
    await no(t, call, 'CreateAlias', { KeyId, AliasName: 'alias/p' }, 'Rejected.StateModifiedFailed', 409);
    await no(t, call, 'UpdateKeyDescription', { KeyId, Description: '' }, 'Rejected.PendingDeletion', 409);
    await ok(t, call, 'CancelKeyDeletion', { KeyId });
    t.equal(await state(), 'Enabled', 'Alibaba enables it again');
    await no(t, call, 'CancelKeyDeletion', { KeyId }, 'Rejected.StateModifiedFailed', 409);
    await ok(t, call, 'UpdateKeyDescription', { KeyId, Description: 'other' });
    t.equal(metadata(await ok(t, call, 'DescribeKey', { KeyId })).Description, 'other');
    await no(t, call, 'DescribeKey', { KeyId: NOBODY }, 'Forbidden.KeyNotFound', 404);
    await no(t, call, 'DescribeKey', { KeyId: 'alias/nobody' }, 'Forbidden.AliasNotFound', 404);
    await no(t, call, 'DescribeKey', {}, 'MissingParameter', 400);
    await no(t, call, 'CreateKey', { KeySpec: 'DES' }, 'InvalidParameter', 400);
    await no(t, call, 'CreateKey', { DKMSInstanceId: 'x' }, 'Rejected.UnsupportedOperation', 400);
    t.match(await ok(t, call, 'DescribeRegions'), { Regions: { Region: [{ RegionId: 'cn-hangzhou' }] } });
  });

  t.test('lists, part by part', async (t) => {
    for (let i = 0; i < 3; i += 1) await made(t, call);
    const ids = async (PageNumber: number) => {
      const answer = await ok(t, call, 'ListKeys', { PageNumber, PageSize: 3 });
      t.match(answer, { PageNumber, PageSize: 3, TotalCount: 4 });
      return (at(answer, 'Keys', 'Key') as { KeyId: string }[]).map(({ KeyId }) => KeyId);
    };
    const [first, second, third] = [await ids(1), await ids(2), await ids(3)];
    t.same([first.length, second.length, third.length], [3, 1, 0]);
    t.equal(new Set([...first, ...second]).size, 4);
    await no(t, call, 'ListKeys', { PageSize: 101 }, 'InvalidParameter', 400);
    await no(t, call, 'ListKeys', { PageNumber: 0 }, 'InvalidParameter', 400);
  });

  t.test('aliases', async (t) => {
    const [a, b] = [await made(t, call), await made(t, call)];
    await ok(t, call, 'CreateAlias', { KeyId: a, AliasName: 'alias/x' });
    await no(t, call, 'CreateAlias', { KeyId: b, AliasName: 'alias/x' }, 'AliasAlreadyExists', 400);
    await no(t, call, 'CreateAlias', { KeyId: b, AliasName: 'x' }, 'InvalidParameter', 400);
    await no(t, call, 'CreateAlias', { KeyId: b, AliasName: 'alias/acs/x' }, 'InvalidParameter', 400);
    await no(t, call, 'CreateAlias', { KeyId: 'alias/x', AliasName: 'alias/y' }, 'Unsupported.Alias', 400);
    const Alias = [
      { KeyId: a, AliasName: 'alias/x', AliasArn: 'acs:kms:cn-hangzhou:0000000000000000:alias/x' },
    ];
    t.match(await ok(t, call, 'ListAliasesByKeyId', { KeyId: a }), { Aliases: { Alias }, TotalCount: 1 });
    await ok(t, call, 'UpdateAlias', { KeyId: b, AliasName: 'alias/x' });
    t.equal(metadata(await ok(t, call, 'DescribeKey', { KeyId: 'alias/x' })).KeyId, b);
    t.match(await ok(t, call, 'ListAliases'), { Aliases: { Alias: [{ KeyId: b, AliasName: 'alias/x' }] } });
    await ok(t, call, 'ScheduleKeyDeletion', { KeyId: a, PendingWindowInDays: 7 });
    await no(t, call, 'UpdateAlias', { KeyId: a, AliasName: 'alias/x' }, 'Rejected.PendingDeletion', 409);
    await ok(t, call, 'DeleteAlias', { AliasName: 'alias/x' });
    await no(t, call, 'DeleteAlias', { AliasName: 'alias/x' }, 'Forbidden.AliasNotFound', 404);
    await no(t, call, 'UpdateAlias', { KeyId: b, AliasName: 'alias/x' }, 'Forbidden.AliasNotFound', 404);
  });

  t.test('data', async (t) => {
    const KeyId = await made(t, call);
    const context = { EncryptionContext: JSON.stringify({ 'sealdisk:disk': 'é&=+' }) };
    const key = await ok(t, call, 'GenerateDataKey', { KeyId, ...context });
    t.match(key, { KeyId, KeyVersionId: '1', CiphertextBlob: String });
    t.equal(Buffer.from(key.Plaintext as string, 'base64').length, 32);
    const { CiphertextBlob } = key;
    const opened = await ok(t, call, 'Decrypt', { CiphertextBlob, ...context });
    t.match(opened, { KeyId, KeyVersionId: '1', Plaintext: key.Plaintext });
    await no(t, call, 'Decrypt', { CiphertextBlob }, 'InvalidParameter', 400);
    await no(t, call, 'Decrypt', { CiphertextBlob: 'AAAA', ...context }, 'InvalidParameter', 400);
    await no(t, call, 'Decrypt', { CiphertextBlob: '%', ...context }, 'InvalidParameter', 400);
    for (const [spec, bytes] of [
      [{ KeySpec: 'AES_128' }, 16],
      [{ NumberOfBytes: 64 }, 64],
    ] as const) {
      const { Plaintext } = await ok(t, call, 'GenerateDataKey', { KeyId, ...spec });
      t.equal(Buffer.from(Plaintext as string, 'base64').length, bytes);
    }
    await no(t, call, 'GenerateDataKey', { KeyId, NumberOfBytes: 1025 }, 'InvalidParameter', 400);
    const without = await ok(t, call, 'GenerateDataKeyWithoutPlaintext', { KeyId });
    t.notOk('Plaintext' in without);
    const Plaintext = randomBytes(6144).toString('base64');
    const sealed = await ok(t, call, 'Encrypt', { KeyId, Plaintext, ...context });
    t.equal(
      (await ok(t, call, 'Decrypt', { CiphertextBlob: sealed.CiphertextBlob, ...context })).Plaintext,
      Plaintext,
    );
    await no(t, call, 'Encrypt', { KeyId, Plaintext: '***' }, 'InvalidParameter', 400);
    await no(t, call, 'Encrypt', { KeyId }, 'MissingParameter', 400);
    const other = await made(t, call);
    const source = { CiphertextBlob, SourceEncryptionContext: context.EncryptionContext };
    const again = await ok(t, call, 'ReEncrypt', { ...source, DestinationKeyId: other, SourceKeyId: KeyId });
    t.equal(again.KeyId, other);
    t.equal(
      (await ok(t, call, 'Decrypt', { CiphertextBlob: again.CiphertextBlob })).Plaintext,
      key.Plaintext,
    );
    await no(
      t,
      call,
      'ReEncrypt',
      { ...source, DestinationKeyId: other, SourceKeyId: other },
      'InvalidParameter',
      400,
    );
    await ok(t, call, 'DisableKey', { KeyId });
    await refusesData(t, call, KeyId, { CiphertextBlob, ...context }, 'Rejected.Disabled');
    await ok(t, call, 'ScheduleKeyDeletion', { KeyId, PendingWindowInDays: 7 });
    await refusesData(t, call, KeyId, { CiphertextBlob, ...context }, 'Rejected.PendingDeletion');
    const asymmetric = await made(t, call, { KeySpec: 'EC_P256', KeyUsage: 'SIGN/VERIFY' });
    await no(t, call, 'GenerateDataKey', { KeyId: asymmetric }, 'Rejected.UnsupportedOperation', 400);
  });

  t.test('versions and rotation', async (t) => {
    const KeyId = await made(t, call, { EnableAutomaticRotation: true, RotationInterval: '30d' });
    const described = metadata(await ok(t, call, 'DescribeKey', { KeyId }));
    t.match(described, {
      AutomaticRotation: 'Enabled',
      RotationInterval: `${30 * DAY_S}s`,
      NextRotationDate: TIME,
    });
    await ok(t, call, 'UpdateRotationPolicy', { KeyId, EnableAutomaticRotation: false });
    t.equal(metadata(await ok(t, call, 'DescribeKey', { KeyId })).AutomaticRotation, 'Disabled');
    const policy = { KeyId, EnableAutomaticRotation: true };
    await no(t, call, 'UpdateRotationPolicy', policy, 'MissingParameter', 400);
    await no(t, call, 'UpdateRotationPolicy', { ...policy, RotationInterval: '1d' }, 'InvalidParameter', 400);
    const { KeyVersion } = await ok(t, call, 'CreateKeyVersion', { KeyId });
    t.match(KeyVersion, { KeyId, KeyVersionId: '2', CreationDate: TIME });
    t.match(await ok(t, call, 'DescribeKeyVersion', { KeyId, KeyVersionId: '2' }), { KeyVersion });
    await no(
      t,
      call,
      'DescribeKeyVersion',
      { KeyId, KeyVersionId: '3' },
      'Forbidden.KeyVersionNotFound',
      404,
    );
    const list = await ok(t, call, 'ListKeyVersions', { KeyId, PageSize: 1, PageNumber: 2 });
    t.match(list, { KeyVersions: { KeyVersion: [KeyVersion] }, TotalCount: 2 });
    t.equal((await ok(t, call, 'GenerateDataKey', { KeyId })).KeyVersionId, '2');
    await ok(t, call, 'DisableKey', { KeyId });
    await no(t, call, 'CreateKeyVersion', { KeyId }, 'Rejected.Disabled', 409);
  });

  t.test('import', async (t) => {
    const KeyId = await made(t, call, { Origin: 'EXTERNAL' });
    await no(t, call, 'GenerateDataKey', { KeyId }, 'Rejected.PendingImport', 409);
    const material = randomBytes(32);
    const wrapping = { KeyId, WrappingAlgorithm: 'RSAES_OAEP_SHA_256', WrappingKeySpec: 'RSA_2048' };
    const parameters = await ok(t, call, 'GetParametersForImport', wrapping);
    t.match(parameters, { KeyId, TokenExpireTime: TIME });
    const { ImportToken } = parameters;
    const EncryptedKeyMaterial = wrap(parameters.PublicKey as string, material);
    const given = { KeyId, ImportToken, EncryptedKeyMaterial, KeyMaterialExpireUnix: 0 };
    await no(t, call, 'ImportKeyMaterial', { ...given, ImportToken: 'AAAA' }, 'InvalidImportToken', 400);
    const none = wrap(parameters.PublicKey as string, randomBytes(31));
    await no(
      t,
      call,
      'ImportKeyMaterial',
      { ...given, EncryptedKeyMaterial: none },
      'InvalidKeyMaterial',
      400,
    );
    await no(t, call, 'ImportKeyMaterial', { ...given, KeyMaterialExpireUnix: 1 }, 'InvalidParameter', 400);
    await ok(t, call, 'ImportKeyMaterial', given);
    const { CiphertextBlob, Plaintext } = await ok(t, call, 'GenerateDataKey', { KeyId });
    await ok(t, call, 'DeleteKeyMaterial', { KeyId });
    t.equal(metadata(await ok(t, call, 'DescribeKey', { KeyId })).KeyState, 'PendingImport');
    await no(t, call, 'Decrypt', { CiphertextBlob }, 'Rejected.PendingImport', 409);
    const soon = Math.floor(Date.now() / 1000) + DAY_S;
    await ok(t, call, 'ImportKeyMaterial', { ...given, KeyMaterialExpireUnix: soon });
    t.match(metadata(await ok(t, call, 'DescribeKey', { KeyId })), {
      Origin: 'EXTERNAL',
      MaterialExpireTime: TIME,
    });
    t.equal((await ok(t, call, 'Decrypt', { CiphertextBlob })).Plaintext, Plaintext);
    const own = await made(t, call);
    await no(t, call, 'GetParametersForImport', { ...wrapping, KeyId: own }, 'Unsupported.Origin', 400);
    await no(t, call, 'CreateKeyVersion', { KeyId }, 'Unsupported.Origin', 400);
  });

  t.test('tags', async (t) => {
    const Tags = JSON.stringify([{ TagKey: 'k', TagValue: 'v' }]);
    const KeyId = await made(t, call, { Tags });
    await ok(t, call, 'TagResource', { KeyId, Tags: JSON.stringify([{ TagKey: 'l', TagValue: 'w' }]) });
    const tagsOf = async () => at(await ok(t, call, 'ListResourceTags', { KeyId }), 'Tags', 'Tag');
    const [k, l] = [
      { KeyId, TagKey: 'k', TagValue: 'v' },
      { KeyId, TagKey: 'l', TagValue: 'w' },
    ];
    t.same(await tagsOf(), [k, l]);
    await ok(t, call, 'UntagResource', { KeyId, TagKeys: '["k"]' });
    t.same(await tagsOf(), [l]);
    const many = { ResourceType: 'key', ResourceId: [KeyId] };
    await ok(t, call, 'TagResources', { ...many, Tag: [{ Key: 'm', Value: 'x' }] });
    const listed = await ok(t, call, 'ListTagResources', { ...many, Tag: [{ Key: 'm' }] });
    t.match(listed, { TagResources: { TagResource: [{ ResourceId: KeyId, TagKey: 'm', TagValue: 'x' }] } });
    await ok(t, call, 'UntagResources', { ...many, All: true });
    t.same(await tagsOf(), []);
    await no(t, call, 'TagResource', { KeyId, Tags: '{' }, 'InvalidParameter', 400);
    await no(t, call, 'TagResources', many, 'MissingParameter', 400);
  });

  t.test('none is left out', async (t) => {
    t.same([...asked].sort(), aliyunOperations().sort());
  });
}

const wrap = (publicKey: string, material: Buffer): string => {
  const key = createPublicKey({ key: Buffer.from(publicKey, 'base64'), format: 'der', type: 'spki' });
  const oaep = { key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' };
  return publicEncrypt(oaep, material).toString('base64');
};

async function refusesData(t: Test, call: Call, KeyId: string, wrapped: Answer, code: string) {
  await no(t, call, 'GenerateDataKey', { KeyId }, code, 409);
  await no(t, call, 'GenerateDataKeyWithoutPlaintext', { KeyId }, code, 409);
  await no(t, call, 'Encrypt', { KeyId, Plaintext: 'AAAA' }, code, 409);
  await no(t, call, 'Decrypt', wrapped, code, 409);
}

t.test('every client, signature and carrier', async (t) => {
  const face = await startFace(t);
  const { keyId: KeyId } = await face.kms.createKey({ alias: 'alias/x' });
  const { origin } = face.serving;
  const temporary = await face.keys.create({ expiresAt: new Date(Date.now() + 3_600_000).toISOString() });
  for (const key of [face.accessKey, temporary]) {
    const clients: [string, Call][] = [
      ['ACS3, query', openApi(key, origin, 'query')],
      ['ACS3, form', openApi(key, origin, 'form')],
      ['ACS3, JSON', openApi(key, origin, 'json')],
      ['RPC v1 of the reference client', openApi(key, origin, 'form', { signatureAlgorithm: 'v2' })],
      ['RPC v1 in the URL', popCore(key, origin, 'GET')],
      ['RPC v1 in a form', popCore(key, origin, 'POST')],
    ];
    for (const [title, call] of clients) {
      const Plaintext = randomBytes(33).toString('base64');
      const EncryptionContext = JSON.stringify({ "it's": "a !'()*~+ é" });
      const { CiphertextBlob } = await ok(t, call, 'Encrypt', {
        KeyId: 'alias/x',
        Plaintext,
        EncryptionContext,
      });
      const opened = await ok(t, call, 'Decrypt', { CiphertextBlob, EncryptionContext });
      t.match(opened, { KeyId, Plaintext }, title);
      await no(t, call, 'Decrypt', { CiphertextBlob }, 'InvalidParameter', 400);
      await no(t, call, 'NoSuchThing', {}, 'InvalidAction.NotFound', 404);
    }
  }
  const direct = openApi(face.accessKey, origin, 'query');
  const { CiphertextBlob } = await ok(t, direct, 'GenerateDataKey', {
    KeyId,
    'EncryptionContext.a:b c': '1',
  });
  await ok(t, openApi(face.accessKey, origin, 'json'), 'Decrypt', {
    CiphertextBlob,
    EncryptionContext: { 'a:b c': '1' },
  });
});
