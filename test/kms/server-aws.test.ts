import { constants, createPublicKey, publicEncrypt, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as aws from '@aws-sdk/client-kms';
import t, { type Test } from 'tap';
import type { NewAccessKey } from '#sealdisk/kms/local/access-keys.js';
import { awsOperations } from '#sealdisk/kms/server/aws/protocol.js';
import { credentialsOf, type FaceRig, startFace } from './face.js';

const REGION = 'eu-central-1';
const NOBODY = '00000000-0000-4000-8000-000000000000';
const CONTEXT = { 'aws:ebs:id': 'vol-1' };

function clientOf(
  t: Test,
  face: FaceRig,
  key: NewAccessKey = face.accessKey,
  over: aws.KMSClientConfig = {},
) {
  const client = new aws.KMSClient({
    endpoint: face.serving.origin,
    region: REGION,
    credentials: credentialsOf(key),
    ...over,
  });
  t.teardown(async () => client.destroy());
  return client;
}

/** The SDK's whole client, a method for each operation. */
function kmsOf(t: Test, face: FaceRig, key?: NewAccessKey): aws.KMS {
  const { accessKey, serving } = face;
  const kms = new aws.KMS({
    endpoint: serving.origin,
    region: REGION,
    credentials: credentialsOf(key ?? accessKey),
  });
  t.teardown(async () => kms.destroy());
  return kms;
}

/** Fails by that name, after so many attempts. */
async function refused(
  t: Test,
  work: Promise<unknown>,
  name: string,
  what = name,
  attempts = 1,
): Promise<void> {
  const error = await work.then(
    () => undefined,
    (thrown: aws.KMSServiceException) => thrown,
  );
  t.equal(error?.name, name, what);
  t.equal(error?.$metadata.attempts, attempts, `${what}: attempts`);
  t.ok(error?.$metadata.requestId, `${what}: it can be found in the log`);
}

t.test('keys', async (t) => {
  const face = await startFace(t);
  const kms = kmsOf(t, face);
  const Tags = [{ TagKey: 'a', TagValue: '1' }];
  const { KeyMetadata: made } = await kms.createKey({ Description: 'one', Tags });
  const KeyId = made?.KeyId as string;
  t.match(made, {
    Arn: `arn:aws:kms:${REGION}:000000000000:key/${KeyId}`,
    AWSAccountId: '000000000000',
    Description: 'one',
    Enabled: true,
    KeyManager: 'CUSTOMER',
    KeySpec: 'SYMMETRIC_DEFAULT',
    KeyState: 'Enabled',
    KeyUsage: 'ENCRYPT_DECRYPT',
    Origin: 'AWS_KMS',
  });
  t.ok(Math.abs((made?.CreationDate?.getTime() ?? 0) - Date.now()) < 60_000, 'dates are epoch seconds');
  const { KeyMetadata: described } = await kms.describeKey({ KeyId: made?.Arn });
  t.same(described, made);

  await kms.updateKeyDescription({ KeyId, Description: 'two' });
  await kms.disableKey({ KeyId });
  t.match((await kms.describeKey({ KeyId })).KeyMetadata, {
    Description: 'two',
    Enabled: false,
    KeyState: 'Disabled',
  });
  await kms.enableKey({ KeyId });
  const scheduled = await kms.scheduleKeyDeletion({ KeyId, PendingWindowInDays: 7 });
  t.match(scheduled, { KeyId: made?.Arn, KeyState: 'PendingDeletion', PendingWindowInDays: 7 });
  t.ok(Math.abs((scheduled.DeletionDate?.getTime() ?? 0) - Date.now() - 7 * 86_400_000) < 60_000);
  await refused(t, kms.enableKey({ KeyId }), 'KMSInvalidStateException');
  await refused(t, kms.scheduleKeyDeletion({ KeyId }), 'KMSInvalidStateException');
  await refused(t, kms.generateDataKey({ KeyId, KeySpec: 'AES_256' }), 'KMSInvalidStateException');
  t.equal((await kms.cancelKeyDeletion({ KeyId })).KeyId, made?.Arn);
  t.equal((await kms.describeKey({ KeyId })).KeyMetadata?.KeyState, 'Disabled', 'as at AWS');
  await refused(t, kms.cancelKeyDeletion({ KeyId }), 'KMSInvalidStateException');
  for (const days of [6, 31]) {
    await refused(t, kms.scheduleKeyDeletion({ KeyId, PendingWindowInDays: days }), 'ValidationException');
  }
  const { KeyMetadata: pair } = await kms.createKey({ KeySpec: 'ECC_NIST_P256', KeyUsage: 'SIGN_VERIFY' });
  t.match(pair, { KeySpec: 'ECC_NIST_P256', KeyUsage: 'SIGN_VERIFY' });
  await refused(
    t,
    kms.generateDataKey({ KeyId: pair?.KeyId, KeySpec: 'AES_256' }),
    'InvalidKeyUsageException',
  );
  await refused(
    t,
    kms.createKey({ KeySpec: 'ECC_NIST_P256', KeyUsage: 'ENCRYPT_DECRYPT' }),
    'ValidationException',
  );
  await refused(t, kms.createKey({ Policy: '{}' }), 'UnsupportedOperationException');
  await refused(t, kms.createKey({ MultiRegion: true }), 'UnsupportedOperationException');
  await refused(t, kms.describeKey({ KeyId: NOBODY }), 'NotFoundException');
  await refused(t, kms.describeKey({ KeyId: 'no such form' }), 'NotFoundException');
  await refused(t, kms.describeKey({ KeyId: 'arn:aws:s3:::bucket' }), 'InvalidArnException');
});

t.test('lists go on where their marker says', async (t) => {
  const face = await startFace(t);
  const kms = kmsOf(t, face);
  const ids: string[] = [];
  for (let i = 0; i < 5; i += 1) {
    const { KeyMetadata } = await kms.createKey({});
    ids.push(KeyMetadata?.KeyId as string);
    await kms.createAlias({ AliasName: `alias/${i}`, TargetKeyId: KeyMetadata?.KeyId });
  }
  const keys: string[] = [];
  for await (const page of aws.paginateListKeys({ client: kms, pageSize: 2 }, {})) {
    t.ok((page.Keys?.length ?? 0) <= 2);
    keys.push(...(page.Keys ?? []).map((key) => key.KeyId as string));
  }
  t.same(keys, ids.sort());
  const aliases: string[] = [];
  for await (const page of aws.paginateListAliases({ client: kms, pageSize: 2 }, {})) {
    aliases.push(...(page.Aliases ?? []).map((alias) => alias.AliasName as string));
  }
  t.same(aliases.sort(), ['alias/0', 'alias/1', 'alias/2', 'alias/3', 'alias/4']);
  await refused(t, kms.listKeys({ Marker: 'x' }), 'InvalidMarkerException');
  await refused(t, kms.listKeys({ Limit: 0 }), 'ValidationException');
  const { NextMarker } = await kms.listKeys({ Limit: 1 });
  await refused(
    t,
    kms.listAliases({ Marker: NextMarker }),
    'InvalidMarkerException',
    'the marker of another list',
  );
});

t.test('aliases', async (t) => {
  const face = await startFace(t);
  const kms = kmsOf(t, face);
  const [a, b] = await Promise.all([1, 2].map(async () => (await kms.createKey({})).KeyMetadata?.KeyId));
  const AliasName = 'alias/x';
  await kms.createAlias({ AliasName, TargetKeyId: a });
  t.equal((await kms.describeKey({ KeyId: AliasName })).KeyMetadata?.KeyId, a);
  const AliasArn = `arn:aws:kms:${REGION}:000000000000:alias/x`;
  t.equal((await kms.describeKey({ KeyId: AliasArn })).KeyMetadata?.KeyId, a);
  await kms.updateAlias({ AliasName, TargetKeyId: b });
  t.match((await kms.listAliases({ KeyId: b })).Aliases, [{ AliasName, AliasArn, TargetKeyId: b }]);
  t.same((await kms.listAliases({ KeyId: a })).Aliases, []);
  await refused(t, kms.createAlias({ AliasName, TargetKeyId: a }), 'AlreadyExistsException');
  await refused(t, kms.createAlias({ AliasName: 'x', TargetKeyId: a }), 'InvalidAliasNameException');
  await refused(
    t,
    kms.createAlias({ AliasName: 'alias/aws/x', TargetKeyId: a }),
    'InvalidAliasNameException',
  );
  await refused(t, kms.createAlias({ AliasName: 'alias/y', TargetKeyId: NOBODY }), 'NotFoundException');
  await refused(t, kms.createAlias({ AliasName: 'alias/y', TargetKeyId: AliasName }), 'ValidationException');
  await refused(t, kms.updateAlias({ AliasName: 'alias/y', TargetKeyId: a }), 'NotFoundException');
  await kms.deleteAlias({ AliasName });
  await refused(t, kms.deleteAlias({ AliasName }), 'NotFoundException');
  await refused(t, kms.describeKey({ KeyId: AliasName }), 'NotFoundException');
});

t.test('data keys and small secrets', async (t) => {
  const face = await startFace(t);
  const kms = kmsOf(t, face);
  const KeyId = (await kms.createKey({})).KeyMetadata?.Arn as string;
  for (const [size, bytes] of [
    [{ KeySpec: 'AES_128' }, 16],
    [{ KeySpec: 'AES_256' }, 32],
    [{ NumberOfBytes: 1024 }, 1024],
  ] as const) {
    const key = await kms.generateDataKey({ KeyId, ...size, EncryptionContext: CONTEXT });
    t.equal(key.Plaintext?.length, bytes);
    t.equal(key.KeyId, KeyId);
    const open = await kms.decrypt({ CiphertextBlob: key.CiphertextBlob, EncryptionContext: CONTEXT });
    t.same(open.Plaintext, key.Plaintext);
    t.match(open, { KeyId, EncryptionAlgorithm: 'SYMMETRIC_DEFAULT' });
  }
  const blind = await kms.generateDataKeyWithoutPlaintext({ KeyId, NumberOfBytes: 64 });
  t.notOk('Plaintext' in blind);
  t.equal((await kms.decrypt({ CiphertextBlob: blind.CiphertextBlob, KeyId })).Plaintext?.length, 64);

  for (const Plaintext of [Buffer.from('s'), randomBytes(4096)]) {
    const { CiphertextBlob } = await kms.encrypt({
      KeyId,
      Plaintext,
      EncryptionContext: { Plaintext: 'AAAA' },
    });
    const open = await kms.decrypt({ CiphertextBlob, EncryptionContext: { Plaintext: 'AAAA' }, KeyId });
    t.ok(Plaintext.equals(open.Plaintext as Uint8Array), `${Plaintext.length} bytes`);
  }
  await refused(t, kms.encrypt({ KeyId, Plaintext: randomBytes(4097) }), 'ValidationException');
  await refused(t, kms.encrypt({ KeyId, Plaintext: Buffer.alloc(0) }), 'ValidationException');
  for (const bad of [
    {},
    { KeySpec: 'AES_256', NumberOfBytes: 32 },
    { NumberOfBytes: 1025 },
    { NumberOfBytes: 0 },
  ] as const) {
    await refused(t, kms.generateDataKey({ KeyId, ...bad }), 'ValidationException');
  }
  const long = { EncryptionContext: { a: 'x'.repeat(8192) } };
  await refused(t, kms.generateDataKey({ KeyId, NumberOfBytes: 32, ...long }), 'ValidationException');
  await refused(
    t,
    kms.generateDataKey({ KeyId, NumberOfBytes: 32, GrantTokens: ['x'] }),
    'InvalidGrantTokenException',
  );
  await refused(
    t,
    kms.generateDataKey({ KeyId, NumberOfBytes: 32, DryRun: true }),
    'DryRunOperationException',
  );

  const { CiphertextBlob } = blind;
  const other = (await kms.createKey({})).KeyMetadata?.KeyId as string;
  await refused(t, kms.decrypt({ CiphertextBlob, EncryptionContext: CONTEXT }), 'InvalidCiphertextException');
  await refused(t, kms.decrypt({ CiphertextBlob: randomBytes(200) }), 'InvalidCiphertextException');
  const altered = Buffer.from(CiphertextBlob as Uint8Array);
  altered[100] = (altered[100] as number) ^ 1;
  await refused(t, kms.decrypt({ CiphertextBlob: altered }), 'InvalidCiphertextException');
  await refused(t, kms.decrypt({ CiphertextBlob, KeyId: other }), 'IncorrectKeyException');
  await refused(
    t,
    kms.decrypt({ CiphertextBlob, EncryptionAlgorithm: 'RSAES_OAEP_SHA_1' }),
    'InvalidKeyUsageException',
  );

  const anew = await kms.reEncrypt({
    CiphertextBlob,
    SourceKeyId: KeyId,
    DestinationKeyId: other,
    DestinationEncryptionContext: CONTEXT,
  });
  t.match(anew, { SourceKeyId: KeyId, KeyId: KeyId.replace(/[^/]*$/, other) });
  const [before, after] = await Promise.all([
    kms.decrypt({ CiphertextBlob }),
    kms.decrypt({ CiphertextBlob: anew.CiphertextBlob, EncryptionContext: CONTEXT }),
  ]);
  t.same(before.Plaintext, after.Plaintext);
  await refused(
    t,
    kms.reEncrypt({ CiphertextBlob, SourceKeyId: other, DestinationKeyId: other }),
    'IncorrectKeyException',
  );

  await kms.disableKey({ KeyId });
  await refused(t, kms.decrypt({ CiphertextBlob }), 'DisabledException');
  await refused(t, kms.encrypt({ KeyId, Plaintext: Buffer.from('s') }), 'DisabledException');
  await refused(t, kms.generateDataKey({ KeyId, NumberOfBytes: 32 }), 'DisabledException');
});

t.test('rotation', async (t) => {
  const face = await startFace(t);
  const kms = kmsOf(t, face);
  const KeyId = (await kms.createKey({})).KeyMetadata?.KeyId as string;
  const { CiphertextBlob } = await kms.generateDataKeyWithoutPlaintext({ KeyId, NumberOfBytes: 32 });
  t.match(await kms.getKeyRotationStatus({ KeyId }), { KeyRotationEnabled: false });
  await kms.enableKeyRotation({ KeyId, RotationPeriodInDays: 90 });
  const status = await kms.getKeyRotationStatus({ KeyId });
  t.match(status, { KeyRotationEnabled: true, RotationPeriodInDays: 90 });
  t.ok(Math.abs((status.NextRotationDate?.getTime() ?? 0) - Date.now() - 90 * 86_400_000) < 60_000);
  for (let i = 0; i < 3; i += 1) await kms.rotateKeyOnDemand({ KeyId });
  const rotations: aws.RotationsListEntry[] = [];
  for await (const page of aws.paginateListKeyRotations({ client: kms, pageSize: 2 }, { KeyId })) {
    rotations.push(...(page.Rotations ?? []));
  }
  t.equal(rotations.length, 3);
  await kms.disableKeyRotation({ KeyId });
  t.match(await kms.getKeyRotationStatus({ KeyId }), { KeyRotationEnabled: false });
  t.equal((await kms.decrypt({ CiphertextBlob })).Plaintext?.length, 32, 'what an old version wrapped opens');
  await refused(t, kms.enableKeyRotation({ KeyId, RotationPeriodInDays: 89 }), 'ValidationException');
  await kms.disableKey({ KeyId });
  await refused(t, kms.rotateKeyOnDemand({ KeyId }), 'DisabledException');
  const external = (await kms.createKey({ Origin: 'EXTERNAL' })).KeyMetadata?.KeyId as string;
  await refused(t, kms.enableKeyRotation({ KeyId: external }), 'UnsupportedOperationException');
});

t.test('material that its owner brings', async (t) => {
  const face = await startFace(t);
  const kms = kmsOf(t, face);
  const { KeyMetadata } = await kms.createKey({ Origin: 'EXTERNAL' });
  const KeyId = KeyMetadata?.KeyId as string;
  t.match(KeyMetadata, { KeyState: 'PendingImport', Origin: 'EXTERNAL', Enabled: false });
  await refused(t, kms.generateDataKey({ KeyId, NumberOfBytes: 32 }), 'KMSInvalidStateException');
  const WrappingAlgorithm = 'RSAES_OAEP_SHA_256';
  const parameters = await kms.getParametersForImport({
    KeyId,
    WrappingAlgorithm,
    WrappingKeySpec: 'RSA_2048',
  });
  const ImportToken = parameters.ImportToken as Uint8Array;
  const key = createPublicKey({
    key: Buffer.from(parameters.PublicKey as Uint8Array),
    format: 'der',
    type: 'spki',
  });
  t.ok((parameters.ParametersValidTo?.getTime() ?? 0) > Date.now());
  const wrap = (material: Buffer): Buffer =>
    publicEncrypt({ key, oaepHash: 'sha256', padding: constants.RSA_PKCS1_OAEP_PADDING }, material);
  const material = randomBytes(32);
  const ValidTo = new Date(Date.now() + 3_600_000);
  const wrapped = { KeyId, ImportToken, EncryptedKeyMaterial: wrap(material) };
  await refused(t, kms.importKeyMaterial(wrapped), 'ValidationException', 'material that ends has an end');
  await refused(
    t,
    kms.importKeyMaterial({ ...wrapped, ValidTo, ImportToken: randomBytes(64) }),
    'InvalidImportTokenException',
  );
  await refused(
    t,
    kms.importKeyMaterial({ ...wrapped, ValidTo, EncryptedKeyMaterial: randomBytes(256) }),
    'InvalidCiphertextException',
  );
  await kms.importKeyMaterial({ ...wrapped, ValidTo });
  const imported = (await kms.describeKey({ KeyId })).KeyMetadata;
  t.match(imported, { KeyState: 'Enabled', ExpirationModel: 'KEY_MATERIAL_EXPIRES' });
  t.ok(Math.abs((imported?.ValidTo?.getTime() ?? 0) - ValidTo.getTime()) <= 1000);
  const { CiphertextBlob } = await kms.generateDataKeyWithoutPlaintext({ KeyId, NumberOfBytes: 32 });
  await kms.deleteImportedKeyMaterial({ KeyId });
  await refused(t, kms.decrypt({ CiphertextBlob }), 'KMSInvalidStateException');
  const forever = { ...wrapped, ExpirationModel: 'KEY_MATERIAL_DOES_NOT_EXPIRE' } as const;
  await refused(
    t,
    kms.importKeyMaterial({ ...forever, EncryptedKeyMaterial: wrap(randomBytes(32)) }),
    'IncorrectKeyMaterialException',
  );
  await kms.importKeyMaterial(forever);
  t.equal((await kms.decrypt({ CiphertextBlob })).Plaintext?.length, 32);
  const ours = (await kms.createKey({})).KeyMetadata?.KeyId as string;
  await refused(
    t,
    kms.getParametersForImport({ KeyId: ours, WrappingAlgorithm, WrappingKeySpec: 'RSA_2048' }),
    'UnsupportedOperationException',
  );
  await refused(t, kms.deleteImportedKeyMaterial({ KeyId: ours }), 'UnsupportedOperationException');
});

t.test('tags', async (t) => {
  const face = await startFace(t);
  const kms = kmsOf(t, face);
  const KeyId = (await kms.createKey({ Tags: [{ TagKey: 'a', TagValue: '1' }] })).KeyMetadata
    ?.KeyId as string;
  await kms.tagResource({
    KeyId,
    Tags: [
      { TagKey: 'b', TagValue: '' },
      { TagKey: 'a', TagValue: '2' },
    ],
  });
  const tags: aws.Tag[] = [];
  for await (const page of aws.paginateListResourceTags({ client: kms, pageSize: 1 }, { KeyId })) {
    tags.push(...(page.Tags ?? []));
  }
  t.same(tags, [
    { TagKey: 'a', TagValue: '2' },
    { TagKey: 'b', TagValue: '' },
  ]);
  await kms.untagResource({ KeyId, TagKeys: ['a', 'c'] });
  t.same((await kms.listResourceTags({ KeyId })).Tags, [{ TagKey: 'b', TagValue: '' }]);
  for (const TagKey of ['', 'aws:x', 'x'.repeat(129)]) {
    await refused(t, kms.tagResource({ KeyId, Tags: [{ TagKey, TagValue: '' }] }), 'TagException');
  }
  const many = Array.from({ length: 50 }, (_, i) => ({ TagKey: `t${i}`, TagValue: '' }));
  await refused(t, kms.tagResource({ KeyId, Tags: many }), 'LimitExceededException', 'too many', 3);
  await refused(t, kms.listResourceTags({ KeyId: NOBODY }), 'NotFoundException');
});

t.test('signatures', async (t) => {
  const face = await startFace(t, { region: REGION });
  await face.kms.createKey({ alias: 'alias/x' });
  const ask = (client: aws.KMSClient) => client.send(new aws.DescribeKeyCommand({ KeyId: 'alias/x' }));
  const credentials = credentialsOf(face.accessKey);
  const as = (over: aws.KMSClientConfig) => clientOf(t, face, face.accessKey, over);
  for (const systemClockOffset of [-3_600_000, 3_600_000]) {
    const reply = await ask(as({ systemClockOffset }));
    t.equal(reply.$metadata.attempts, 2, 'the SDK sets its clock and is served');
  }
  const wrong = { credentials: { ...credentials, secretAccessKey: 'x' } };
  await refused(t, ask(as(wrong)), 'InvalidSignatureException');
  const unknown = { credentials: { ...credentials, accessKeyId: 'AKIAIOSFODNN7EXAMPLE' } };
  await refused(t, ask(as(unknown)), 'UnrecognizedClientException');
  const token = { credentials: { ...credentials, sessionToken: 'x' } };
  await refused(t, ask(as(token)), 'UnrecognizedClientException', 'a token that it has not');
  await refused(t, ask(as({ region: 'us-east-1' })), 'InvalidSignatureException', 'another region');

  const soon = await face.keys.create({ expiresAt: new Date(Date.now() + 3_600_000).toISOString() });
  t.ok(await ask(clientOf(t, face, soon)));
  await refused(t, ask(clientOf(t, face, { ...soon, securityToken: null })), 'UnrecognizedClientException');
  const ended = await face.keys.create({ expiresAt: new Date(Date.now() - 1000).toISOString() });
  await refused(t, ask(clientOf(t, face, ended)), 'ExpiredTokenException');
  const client = clientOf(t, face, await face.keys.create({}));
  t.ok(await ask(client));
  const { accessKeyId } = await client.config.credentials();
  await face.keys.delete(accessKeyId);
  await refused(t, ask(client), 'UnrecognizedClientException', 'taken away: the next call');
});

/** A request as the SDK has signed it, not sent. */
async function signed(t: Test, face: FaceRig): Promise<{ headers: Record<string, string>; body: string }> {
  let made = { headers: {} as Record<string, string>, body: '' };
  const requestHandler = {
    handle: async (request: typeof made) => {
      made = { headers: { ...request.headers }, body: `${request.body}` };
      return { response: { statusCode: 200, headers: {}, body: new Uint8Array() } };
    },
  } as unknown as NonNullable<aws.KMSClientConfig['requestHandler']>;
  const client = clientOf(t, face, face.accessKey, { requestHandler });
  await client.send(new aws.ListKeysCommand({})).catch(() => undefined);
  return made;
}

t.test('a signed request passes once, as it was signed', async (t) => {
  const face = await startFace(t);
  const post = async (headers: Record<string, string>, body: string, method = 'POST', path = '/') => {
    const { host: _, 'content-length': __, ...rest } = headers;
    const init = { method, headers: rest, ...(method === 'GET' ? {} : { body }) };
    const reply = await fetch(face.serving.origin + path, init);
    return ((await reply.json()) as { __type?: string }).__type ?? reply.status;
  };
  const { headers, body } = await signed(t, face);
  t.equal(body, '{}');
  const { authorization = '' } = headers;
  t.equal(await post(headers, '{ }'), 'InvalidSignatureException', 'another body');
  const hash = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
  t.equal(
    await post({ ...headers, 'x-amz-content-sha256': hash }, body),
    'InvalidSignatureException',
    'another hash',
  );
  const target = { ...headers, 'x-amz-target': 'TrentService.CreateKey' };
  t.equal(await post(target, body), 'InvalidSignatureException', 'another operation');
  t.equal(
    await post({ ...headers, 'x-amz-more': '1' }, body),
    'InvalidSignatureException',
    'more than was signed',
  );
  t.equal(await post(headers, body, 'POST', '/?a=b'), 'InvalidSignatureException', 'a query');
  t.equal(await post({ ...headers, authorization: '' }, body), 'IncompleteSignatureException');
  t.equal(await post({ ...headers, authorization: 'Basic eDp5' }, body), 'IncompleteSignatureException');
  const { authorization: _, ...none } = headers;
  t.equal(await post(none, body), 'MissingAuthenticationTokenException');
  t.equal(await post({ ...headers, 'x-amz-date': 'now' }, body), 'IncompleteSignatureException');
  const s3 = authorization.replace('/kms/', '/s3/');
  t.equal(
    await post({ ...headers, authorization: s3 }, body),
    'InvalidSignatureException',
    'another service',
  );
  t.equal(await post(headers, body), 200);
  t.equal(await post(headers, body), 'InvalidSignatureException', 'and not twice');
});

t.test('whatever a body holds, the reply is JSON with the right name', async (t) => {
  const face = await startFace(t);
  const client = clientOf(t, face);
  const send = async (target: string, body: string) => {
    const command = new aws.ListKeysCommand({});
    const change =
      (next: (args: unknown) => Promise<unknown>) => (args: { request: Record<string, unknown> }) => {
        args.request.body = body;
        const headers = args.request.headers as Record<string, string>;
        Object.assign(headers, { 'x-amz-target': target, 'content-length': `${Buffer.byteLength(body)}` });
        return next(args);
      };
    (command.middlewareStack as unknown as { add(m: unknown, o: object): void }).add(change, {
      step: 'build',
      priority: 'low',
    });
    return client.send(command);
  };
  const cases: [string, string, string][] = [
    ['TrentService.Nothing', '{}', 'UnknownOperationException'],
    ['TrentService.constructor', '{}', 'UnknownOperationException'],
    ['x', '{}', 'UnknownOperationException'],
    ['TrentService.ListKeys', '{', 'SerializationException'],
    ['TrentService.ListKeys', '[]', 'SerializationException'],
    ['TrentService.ListKeys', 'null', 'SerializationException'],
    ['TrentService.ListKeys', '{"Limit":"1"}', 'SerializationException'],
    ['TrentService.ListKeys', '{"Limit":1.5}', 'SerializationException'],
    ['TrentService.DescribeKey', '{}', 'ValidationException'],
    ['TrentService.DescribeKey', '{"KeyId":17}', 'SerializationException'],
    ['TrentService.DescribeKey', '{"KeyId":""}', 'ValidationException'],
    ['TrentService.DescribeKey', '{"__proto__":{"KeyId":"x"}}', 'ValidationException'],
    ['TrentService.Decrypt', '{"CiphertextBlob":"%"}', 'SerializationException'],
    ['TrentService.Decrypt', '{"CiphertextBlob":""}', 'ValidationException'],
    [
      'TrentService.Decrypt',
      '{"CiphertextBlob":"AAAA","EncryptionContext":{"a":1}}',
      'SerializationException',
    ],
    ['TrentService.Encrypt', '{"KeyId":"alias/x"}', 'ValidationException'],
    ['TrentService.Encrypt', '{"KeyId":"alias/x","Plaintext":1}', 'ValidationException'],
    ['TrentService.Encrypt', '{"KeyId":"alias/x","Plaintext":"A"}', 'SerializationException'],
    [
      'TrentService.Encrypt',
      '{"Plaintext":"AAAA","KeyId":"alias/x","Plaintext":"BBBB"}',
      'ValidationException',
    ],
    ['TrentService.Encrypt', '{"KeyId":"alias/x","Pl\\u0061intext":"AAAA"}', 'ValidationException'],
    ['TrentService.Encrypt', '{"Plaintext":"AAAA"', 'SerializationException'],
    ['TrentService.TagResource', '{"KeyId":"alias/x","Tags":{}}', 'SerializationException'],
  ];
  for (const [target, body, name] of cases) await refused(t, send(target, body), name, `${target} ${body}`);
});

t.test('an access key does what it is allowed, on the keys that it is allowed', async (t) => {
  const face = await startFace(t);
  const { keyId } = await face.kms.createKey({ alias: 'alias/mine' });
  const other = await face.kms.createKey({ alias: 'alias/other' });
  const narrow = await face.allowed(
    { action: 'Decrypt', key: 'alias/mine' },
    { action: 'GenerateDataKey*', key: keyId },
    { action: 'ReEncrypt', key: keyId },
    { action: 'CreateAlias', key: null },
    { action: 'UpdateAlias', key: keyId },
  );
  const [kms, all] = [kmsOf(t, face, narrow), kmsOf(t, face)];
  const { CiphertextBlob } = await kms.generateDataKey({ KeyId: keyId, NumberOfBytes: 32 });
  t.ok(await kms.generateDataKeyWithoutPlaintext({ KeyId: 'alias/mine', NumberOfBytes: 32 }));
  t.ok(await kms.decrypt({ CiphertextBlob }), 'a right on an alias, though the ciphertext names the key');
  const theirs = await all.generateDataKey({ KeyId: 'alias/other', NumberOfBytes: 32 });
  const denied = 'AccessDeniedException';
  await refused(t, kms.decrypt({ CiphertextBlob: theirs.CiphertextBlob }), denied);
  await refused(t, kms.generateDataKey({ KeyId: 'alias/other', NumberOfBytes: 32 }), denied);
  await refused(t, kms.encrypt({ KeyId: keyId, Plaintext: Buffer.from('x') }), denied);
  await refused(t, kms.describeKey({ KeyId: keyId }), denied);
  await refused(t, kms.describeKey({ KeyId: NOBODY }), denied, 'nor is told whether a key exists');
  await refused(t, kms.listKeys({}), denied);
  await refused(t, kms.createKey({}), denied);
  await refused(
    t,
    kms.reEncrypt({ CiphertextBlob, DestinationKeyId: other.keyId }),
    denied,
    'to another key',
  );
  await refused(
    t,
    kms.reEncrypt({ CiphertextBlob: theirs.CiphertextBlob, DestinationKeyId: keyId }),
    denied,
    'from another key',
  );
  t.ok(await kms.reEncrypt({ CiphertextBlob, DestinationKeyId: keyId }));
  await refused(
    t,
    kms.updateAlias({ AliasName: 'alias/other', TargetKeyId: keyId }),
    denied,
    "another's alias",
  );
  await all.updateAlias({ AliasName: 'alias/mine', TargetKeyId: other.keyId });
  await refused(t, kms.decrypt({ CiphertextBlob }), denied, 'the alias has moved, and the right with it');
  const lines = readFileSync(join(face.dir, 'audit.log'), 'utf8').trim().split('\n');
  const audit = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  const who = `access-key ${narrow.info.accessKeyId}`;
  t.ok(audit.some((line) => line.who === who && line.operation === 'Decrypt' && line.outcome === 'ok'));
  t.ok(
    audit.some((line) => line.who === who && line.outcome === 'KMS_ACCESS_DENIED'),
    'refusals too',
  );
});

t.test('the SDK tries again what is throttled, and what failed here', async (t) => {
  const face = await startFace(t, { rateLimit: 1 });
  await face.kms.createKey({ alias: 'alias/x' });
  const client = clientOf(t, face);
  const ask = () => client.send(new aws.DescribeKeyCommand({ KeyId: 'alias/x' }));
  t.equal((await ask()).$metadata.attempts, 1);
  const replies = await Promise.allSettled([ask(), ask()]);
  const attempts = replies.map((reply) =>
    reply.status === 'fulfilled' ? reply.value.$metadata.attempts : reply.reason.$metadata.attempts,
  );
  t.ok(
    attempts.every((each) => each > 1),
    `tried ${attempts} times`,
  );
  for (const reply of replies) {
    if (reply.status === 'rejected') t.equal(reply.reason.name, 'ThrottlingException');
  }
});

t.test('a store that is away is a failure of ours, which the SDK tries again', async (t) => {
  const face = await startFace(t);
  const { keyId } = await face.kms.createKey();
  const kms = kmsOf(t, face);
  await kms.describeKey({ KeyId: keyId });
  const { rename } = await import('node:fs/promises');
  await rename(join(face.dir, 'keys'), join(face.dir, 'away'));
  await refused(t, kms.describeKey({ KeyId: keyId }), 'KeyUnavailableException', 'away', 3);
  await rename(join(face.dir, 'away'), join(face.dir, 'keys'));
  t.ok(await kms.describeKey({ KeyId: keyId }));
});

t.test('the SDK knows every operation that there is', async (t) => {
  for (const operation of awsOperations()) t.ok(`${operation}Command` in aws, operation);
  t.equal(awsOperations().length, 28);
});
