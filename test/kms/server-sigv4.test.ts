import t from 'tap';
import {
  canonicalRequest,
  hexHash,
  parseAmzDate,
  parseAuthorization,
  type Signed,
  signatureOf,
  signingKey,
} from '#sealdisk/kms/server/aws/sigv4.js';

// The example that AWS's documentation of SigV4 works through, step by step.
const SCOPE = { date: '20150830', region: 'us-east-1', service: 'iam' };
const SECRET = Buffer.from('wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY');
const SIGNED_HEADERS = ['content-type', 'host', 'x-amz-date'];
const EXAMPLE: Signed = {
  method: 'GET',
  path: '/',
  query: 'Version=2010-05-08&Action=ListUsers',
  headers: {
    'x-amz-date': '20150830T123600Z',
    host: 'iam.amazonaws.com',
    'content-type': '  application/x-www-form-urlencoded;  charset=utf-8',
  },
  bodyHash: hexHash(''),
};
const SIGNATURE = '5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7';

t.test("signs AWS's own example as AWS does", async (t) => {
  t.equal(
    hexHash(canonicalRequest(EXAMPLE, SIGNED_HEADERS)),
    'f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59',
  );
  const key = signingKey(SECRET, SCOPE);
  t.equal(key.toString('hex'), 'c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9');
  const made = signatureOf(EXAMPLE, '20150830T123600Z', { ...SCOPE, signedHeaders: SIGNED_HEADERS }, key);
  t.equal(made.toString('hex'), SIGNATURE);
});

t.test('every part of a request is in the signature', async (t) => {
  const key = signingKey(SECRET, SCOPE);
  const sign = (signed: Signed, date = '20150830T123600Z', names = SIGNED_HEADERS): string =>
    signatureOf(signed, date, { ...SCOPE, signedHeaders: names }, key).toString('hex');
  const others: Signed[] = [
    { ...EXAMPLE, method: 'POST' },
    { ...EXAMPLE, path: '/x' },
    { ...EXAMPLE, query: 'Version=2010-05-08&Action=ListUserS' },
    { ...EXAMPLE, bodyHash: hexHash('x') },
    { ...EXAMPLE, headers: { ...EXAMPLE.headers, host: 'iam.amazonaws.org' } },
  ];
  for (const other of others) t.not(sign(other), SIGNATURE);
  t.not(sign(EXAMPLE, '20150830T123601Z'), SIGNATURE);
  t.not(sign(EXAMPLE, '20150830T123600Z', ['host', 'x-amz-date']), SIGNATURE);
});

const WHOLE = `AWS4-HMAC-SHA256 Credential=AKID/20150830/us-east-1/kms/aws4_request, SignedHeaders=host;x-amz-date, Signature=${SIGNATURE}`;

t.test('reads an Authorization header, with and without spaces', async (t) => {
  const expected = {
    accessKeyId: 'AKID',
    date: '20150830',
    region: 'us-east-1',
    service: 'kms',
    signedHeaders: ['host', 'x-amz-date'],
    signature: SIGNATURE,
  };
  t.same(parseAuthorization(WHOLE), expected);
  t.same(parseAuthorization(WHOLE.replaceAll(', ', ',')), expected);
});

t.test('refuses an Authorization header that is not whole', async (t) => {
  for (const bad of [
    '',
    'Basic eDp5',
    WHOLE.replace('AWS4-HMAC-SHA256', 'AWS4-ECDSA-P256-SHA256'),
    WHOLE.replace('/aws4_request', ''),
    WHOLE.replace('AKID', '../../root'),
    WHOLE.replace('20150830', '2015083'),
    WHOLE.replace(/, SignedHeaders=[^,]*/, ''),
    WHOLE.replace('host;', 'host;;'),
    WHOLE.replace('host;', 'Host;'),
    WHOLE.slice(0, -1),
    `${WHOLE},Signature=${SIGNATURE.replace('5', '6')},More=1`,
  ]) {
    t.equal(parseAuthorization(bad), undefined, bad);
  }
});

t.test('reads a date of one form only', async (t) => {
  t.equal(parseAmzDate('20150830T123600Z'), Date.UTC(2015, 7, 30, 12, 36));
  for (const bad of ['', '20150830', '2015-08-30T12:36:00Z', '20151330T123600Z', '20150830T123600+1']) {
    t.equal(parseAmzDate(bad), undefined, bad);
  }
});
