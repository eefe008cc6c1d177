import { createRequire } from 'node:module';
import t from 'tap';
import {
  acs3CanonicalRequest,
  acs3Signature,
  hexHash,
  parseAcs3,
  percentEncoded,
  rpcSignature,
} from '#sealdisk/kms/acs.js';

const require = createRequire(import.meta.url);

// The example that Alibaba's documentation of the V3 signature works through.
const DOCUMENTED = {
  method: 'POST',
  path: '/',
  query: new Map([
    ['RegionId', 'cn-shanghai'],
    ['ImageId', 'win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd'],
  ]),
  headers: {
    host: 'ecs.cn-shanghai.aliyuncs.com',
    'x-acs-action': 'RunInstances',
    'x-acs-content-sha256': hexHash(''),
    'x-acs-date': '2023-10-26T10:22:32Z',
    'x-acs-signature-nonce': '3156853299f313e23d1673dc12e1703d',
    'x-acs-version': '2014-05-26',
  },
  bodyHash: hexHash(''),
};
const NAMES = Object.keys(DOCUMENTED.headers);

t.test("signs Alibaba's own example of ACS3 as Alibaba does", async (t) => {
  t.equal(
    acs3Signature(DOCUMENTED, NAMES, Buffer.from('YourAccessKeySecret')).toString('hex'),
    '06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0',
  );
});

t.test("signs Alibaba's own example of RPC v1 as Alibaba does", async (t) => {
  const parameters = new Map(
    Object.entries({
      Timestamp: '2016-02-23T12:46:24Z',
      Format: 'XML',
      AccessKeyId: 'testid',
      Action: 'DescribeRegions',
      SignatureMethod: 'HMAC-SHA1',
      SignatureNonce: '3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf',
      Version: '2014-05-26',
      SignatureVersion: '1.0',
      Signature: 'this is not signed',
    }),
  );
  const made = rpcSignature('GET', parameters, Buffer.from('testsecret'));
  t.equal(made.toString('base64'), 'OLeaidS1JvxuMvnyHOwuJ+uX5qY=');
});

t.test('signs what is hard to spell as the SDK does', async (t) => {
  const sdk = require('@alicloud/openapi-util').default as {
    getAuthorization(request: object, algorithm: string, hash: string, id: string, secret: string): string;
    getRPCSignature(query: object, method: string, secret: string): string;
  };
  const hard = {
    'a b': "!'()*~+/=&%",
    é: '\u{1f511}',
    'Tag.10.Key': '',
    'Tag.2.Key': 'x\ny',
    Z: '0',
    a: '1',
  };
  const query = new Map(Object.entries(hard));
  const headers = { ...DOCUMENTED.headers, 'content-type': 'application/json; charset=utf-8' };
  const request = { method: 'POST', pathname: '/', query: hard, headers };
  const said = sdk.getAuthorization(request, 'ACS3-HMAC-SHA256', hexHash('body'), 'id', 'secret');
  const authorization = parseAcs3(said);
  const made = acs3Signature(
    { ...DOCUMENTED, query, headers, bodyHash: hexHash('body'), bareNames: true },
    authorization?.signedHeaders ?? [],
    Buffer.from('secret'),
  );
  t.equal(authorization?.accessKeyId, 'id');
  t.equal(made.toString('hex'), authorization?.signature);
  const rpc = sdk.getRPCSignature(hard, 'POST', 'secret');
  t.equal(rpcSignature('POST', query, Buffer.from('secret')).toString('base64'), rpc);
});

t.test('every part of a request is in an ACS3 signature', async (t) => {
  const whole = acs3CanonicalRequest(DOCUMENTED, NAMES);
  const headers = { ...DOCUMENTED.headers, 'x-acs-action': 'Decrypt' };
  for (const other of [
    { ...DOCUMENTED, method: 'GET' },
    { ...DOCUMENTED, path: '/x' },
    { ...DOCUMENTED, query: new Map([['RegionId', 'cn-shanghai']]) },
    { ...DOCUMENTED, headers },
    { ...DOCUMENTED, bodyHash: hexHash('x') },
  ]) {
    t.not(acs3CanonicalRequest(other, NAMES), whole);
  }
  t.not(acs3CanonicalRequest(DOCUMENTED, NAMES.slice(1)), whole);
});

t.test('takes no Authorization that is not whole', async (t) => {
  const good = `ACS3-HMAC-SHA256 Credential=id,SignedHeaders=host;x-acs-date,Signature=${'a'.repeat(64)}`;
  t.strictSame(parseAcs3(good)?.signedHeaders, ['host', 'x-acs-date']);
  for (const bad of [
    '',
    'ACS3-HMAC-SHA256',
    good.replace('ACS3', 'ACS4'),
    good.replace('Credential=id,', ''),
    good.replace('host;', ''.padEnd(1, ';')),
    good.slice(0, -1),
    `${good},More=1`,
    good.replace('id', 'i/d'),
  ]) {
    t.equal(parseAcs3(bad), undefined, bad);
  }
});

t.test('encodes as RFC 3986 says', async (t) => {
  t.equal(percentEncoded("aZ0-_.~ !'()*+/é"), 'aZ0-_.~%20%21%27%28%29%2A%2B%2F%C3%A9');
});
