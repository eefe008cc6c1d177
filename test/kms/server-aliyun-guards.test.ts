/** Who may not pass: requests of Alibaba's protocol that are signed wrongly, late, twice, or by somebody without the right. */

import { randomUUID } from 'node:crypto';
import t, { type Test } from 'tap';
import { acs3Signature, hexHash, rpcSignature } from '#sealdisk/kms/acs.js';
import type { NewAccessKey } from '#sealdisk/kms/local/access-keys.js';
import { openApi, popCore } from './alicloud.js';
import { startFace } from './face.js';

interface Sent {
  readonly method: string;
  readonly query: string;
  readonly headers: Record<string, string>;
  readonly body: string;
}

const plainDate = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}Z`;
const HOUR_MS = 3_600_000;

/** A rightly signed ListKeys of ACS3, but for `over`. */
function acs3({ info, accessKeySecret }: NewAccessKey, over: Record<string, string | undefined> = {}): Sent {
  const body = 'PageSize=1';
  const headers: Record<string, string> = {
    host: 'kms.test',
    'content-type': 'application/x-www-form-urlencoded',
    'x-acs-action': 'ListKeys',
    'x-acs-version': '2016-01-20',
    'x-acs-date': plainDate(Date.now()),
    'x-acs-signature-nonce': randomUUID(),
    'x-acs-content-sha256': hexHash(body),
  };
  for (const [name, value] of Object.entries(over)) {
    if (value === undefined) delete headers[name];
    else headers[name] = value;
  }
  const names = Object.keys(headers).sort();
  const signed = { method: 'POST', path: '/', query: new Map(), headers, bodyHash: hexHash(body) };
  const signature = acs3Signature(signed, names, Buffer.from(accessKeySecret)).toString('hex');
  headers.authorization = `ACS3-HMAC-SHA256 Credential=${info.accessKeyId},SignedHeaders=${names.join(';')},Signature=${signature}`;
  return { method: 'POST', query: '', headers, body };
}

/** The same of RPC v1. */
function rpc({ info, accessKeySecret }: NewAccessKey, over: Record<string, string> = {}): Sent {
  const parameters = new Map(
    Object.entries({
      Action: 'ListKeys',
      Version: '2016-01-20',
      Format: 'JSON',
      Timestamp: plainDate(Date.now()),
      SignatureMethod: 'HMAC-SHA1',
      SignatureVersion: '1.0',
      SignatureNonce: randomUUID(),
      AccessKeyId: info.accessKeyId,
      ...over,
    }).filter(([, value]) => value !== ''),
  );
  parameters.set(
    'Signature',
    rpcSignature('GET', parameters, Buffer.from(accessKeySecret)).toString('base64'),
  );
  const query = new URLSearchParams([...parameters]).toString();
  return { method: 'GET', query, headers: { host: 'kms.test' }, body: '' };
}

t.test('lets nobody pass who does not prove that the request is theirs, whole and new', async (t) => {
  const face = await startFace(t);
  const key = face.accessKey;
  const ask = async ({ method, query, headers, body }: Sent): Promise<string> => {
    const { request } = await import('node:http');
    const { hostname, port } = new URL(face.serving.origin);
    return new Promise((resolve, reject) => {
      const sent = request({ hostname, port, method, path: `/?${query}`, headers }, (response) => {
        let text = '';
        response.on('data', (part) => {
          text += part;
        });
        response.on('end', () => resolve(`${response.statusCode} ${JSON.parse(text).Code ?? 'ok'}`));
      });
      sent.on('error', reject);
      sent.end(body);
    });
  };
  const is = async (title: string, sent: Sent, expected: string) => t.equal(await ask(sent), expected, title);
  const ended = await face.keys.create({ expiresAt: new Date(Date.now() - 1000).toISOString() });
  const temporary = await face.keys.create({ expiresAt: new Date(Date.now() + HOUR_MS).toISOString() });
  const token = { 'x-acs-security-token': temporary.securityToken ?? '' };

  const good = acs3(key);
  await is('right', good, '200 ok');
  await is('sent again', good, '400 SignatureNonceUsed');
  const goodRpc = rpc(key);
  await is('RPC: right', goodRpc, '200 ok');
  await is('RPC: sent again', goodRpc, '400 SignatureNonceUsed');
  await is('another body', { ...acs3(key), body: 'PageSize=2' }, '400 SignatureDoesNotMatch');
  await is('another query', { ...acs3(key), query: 'PageNumber=2' }, '400 SignatureDoesNotMatch');
  const other = acs3(key);
  other.headers['x-acs-action'] = 'CreateKey';
  await is('another action', other, '400 SignatureDoesNotMatch');
  const more = acs3(key);
  more.headers['x-acs-security-token'] = 'x';
  await is('a header that is not signed', more, '400 IncompleteSignature');
  await is(
    'RPC: another parameter',
    { ...rpc(key), query: `${rpc(key).query}&x=1` },
    '400 SignatureDoesNotMatch',
  );
  await is(
    'a parameter twice',
    { ...rpc(key), query: `${rpc(key).query}&Action=x` },
    '400 ParseRequestParameterException',
  );
  await is('a wrong secret', acs3({ ...key, accessKeySecret: 'x' }), '400 SignatureDoesNotMatch');
  await is('RPC: a wrong secret', rpc({ ...key, accessKeySecret: 'x' }), '400 SignatureDoesNotMatch');
  for (const [title, by] of [
    ['late', -16],
    ['early', 16],
  ] as const) {
    const date = plainDate(Date.now() + by * 60_000);
    await is(title, acs3(key, { 'x-acs-date': date }), '400 InvalidTimeStamp.Expired');
    await is(`RPC: ${title}`, rpc(key, { Timestamp: date }), '400 InvalidTimeStamp.Expired');
  }
  await is('a little late', acs3(key, { 'x-acs-date': plainDate(Date.now() - 14 * 60_000) }), '200 ok');
  await is('no date', acs3(key, { 'x-acs-date': undefined }), '400 IllegalTimestamp');
  await is('RPC: no date', rpc(key, { Timestamp: '' }), '400 IllegalTimestamp');
  await is('no such date', acs3(key, { 'x-acs-date': 'today' }), '400 InvalidTimeStamp.Format');
  await is('no nonce', acs3(key, { 'x-acs-signature-nonce': undefined }), '400 MissingParameter');
  await is('RPC: no nonce', rpc(key, { SignatureNonce: '' }), '400 MissingParameter');
  await is('another way to sign', rpc(key, { SignatureMethod: 'HMAC-SHA256' }), '400 InvalidParameter');
  const stranger = { ...key, info: { ...key.info, accessKeyId: 'SDAKAAAAAAAAAAAAAAAAAAAA' } };
  await is('a stranger', acs3(stranger), '404 InvalidAccessKeyId.NotFound');
  await is('a temporary key', acs3(temporary, token), '200 ok');
  await is('without its token', acs3(temporary), '400 MissingSecurityToken');
  await is(
    'RPC: with another token',
    rpc(temporary, { SecurityToken: 'x' }),
    '400 InvalidSecurityToken.MismatchWithAccessKey',
  );
  await is('a token too many', acs3(key, token), '400 InvalidSecurityToken.MismatchWithAccessKey');
  const endedToken = { 'x-acs-security-token': ended.securityToken ?? '' };
  await is('one that has ended', acs3(ended, endedToken), '400 InvalidSecurityToken.Expired');
  await is('another version', acs3(key, { 'x-acs-version': '2020-01-01' }), '404 InvalidVersion');
  await is('XML', rpc(key, { Format: 'XML' }), '400 InvalidParameter');
  await is('no signature', { ...rpc(key), query: 'Action=ListKeys' }, '400 IncompleteSignature');
  await is(
    'no whole signature',
    { ...good, headers: { ...good.headers, authorization: 'ACS3-HMAC-SHA256 x' } },
    '400 IncompleteSignature',
  );
  await is(
    'bytes that are no text',
    { ...rpc(key), query: 'Action=%ff' },
    '400 ParseRequestParameterException',
  );
  const json = {
    ...good.headers,
    'content-type': 'application/json',
    authorization: '',
    'x-acs-action': 'ListKeys',
  };
  await is('what is no JSON', { ...good, headers: json, body: '{' }, '400 ParseRequestParameterException');
});

t.test('each right is asked for, on each key that a call is about', async (t) => {
  const face = await startFace(t);
  const { origin } = face.serving;
  const [a, b] = [
    await face.kms.createKey({ alias: 'alias/a' }),
    await face.kms.createKey({ alias: 'alias/b' }),
  ];
  const all = openApi(face.accessKey, origin, 'form');
  const sealed = await all('Encrypt', { KeyId: b.keyId, Plaintext: 'AAAA' });
  const { CiphertextBlob } = 'ok' in sealed ? sealed.ok : {};
  const onA = await face.allowed(
    ...['Decrypt', 'Encrypt', 'ReEncrypt', 'DescribeKey', 'UpdateAlias'].map((action) => ({
      action,
      key: 'alias/a',
    })),
  );
  const call = openApi(onA, origin, 'form');
  const denied = async (t: Test, action: string, parameters: Record<string, unknown>) =>
    t.match(await call(action, parameters), { code: 'Forbidden.NoPermission', status: 403 }, action);
  t.match(await call('DescribeKey', { KeyId: a.keyId }), { ok: { KeyMetadata: { KeyId: a.keyId } } });
  await denied(t, 'DescribeKey', { KeyId: b.keyId });
  await denied(t, 'Decrypt', { CiphertextBlob });
  await denied(t, 'ReEncrypt', { CiphertextBlob, DestinationKeyId: a.keyId });
  const own = await call('Encrypt', { KeyId: 'alias/a', Plaintext: 'AAAA' });
  const ownBlob = 'ok' in own ? own.ok.CiphertextBlob : '';
  await denied(t, 'ReEncrypt', { CiphertextBlob: ownBlob, DestinationKeyId: b.keyId });
  await denied(t, 'UpdateAlias', { KeyId: a.keyId, AliasName: 'alias/b' });
  await denied(t, 'DisableKey', { KeyId: a.keyId });
  await denied(t, 'SetDeletionProtection', {
    ProtectedResourceArn: `acs:kms:x:1:key/${a.keyId}`,
    EnableDeletionProtection: true,
  });
  await denied(t, 'TagResources', { ResourceId: [a.keyId], Tag: [{ Key: 'k' }] });
  for (const action of ['CreateKey', 'ListKeys', 'ListAliases']) await denied(t, action, {});
});

t.test('who calls too often is told so', async (t) => {
  const face = await startFace(t, { rateLimit: 1 });
  const call = popCore(face.accessKey, face.serving.origin, 'POST');
  const outcomes = await Promise.all([call('ListKeys'), call('ListKeys'), call('ListKeys')]);
  t.match(
    outcomes.find((each) => !('ok' in each)),
    { code: 'Rejected.Throttling', status: 429 },
  );
});
