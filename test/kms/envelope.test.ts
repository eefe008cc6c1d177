import t from 'tap';
import { canonicalContext, peekEnvelope, unwrap, wrap } from '#sealdisk/kms/local/envelope.js';
import { allocSecret } from '#sealdisk/kms/local/secret.js';

const KEY_ID = '80c72a39-acbb-41bc-84bf-876a7f74fc21';
const ENVELOPE = { keyId: KEY_ID, version: 0x01020304 };
const secret = (sizeBytes: number, byte: number) => allocSecret(sizeBytes).fill(byte);
const material = secret(32, 7);

t.test('has the documented layout', async (t) => {
  const blob = wrap(secret(64, 1), ENVELOPE, {}, material);
  t.equal(blob.length, 80 + 64 + 16);
  t.equal(blob.toString('latin1', 0, 4), 'SDK\x01');
  t.equal(blob.toString('hex', 4, 20), KEY_ID.replaceAll('-', ''));
  t.equal(blob.readUInt32BE(20), 0x01020304);
  t.same(peekEnvelope(blob), ENVELOPE);
});

t.test('tells every altered byte from another context', async (t) => {
  const blob = wrap(secret(32, 1), ENVELOPE, { a: '1' }, material);
  for (let at = 0; at < blob.length; at++) {
    const altered = Buffer.from(blob);
    altered[at] = (altered[at] as number) ^ 0x80;
    if (unwrap(altered, { a: '1' }, material).kind !== 'altered') t.fail(`byte ${at}`);
  }
  t.equal(unwrap(blob, { a: '2' }, material).kind, 'otherContext');
  t.equal(unwrap(blob, { a: '1' }, secret(32, 8)).kind, 'altered', 'another key');
  t.equal(unwrap(blob, { a: '1' }, material).kind, 'ok');
});

t.test('takes plaintexts of 1 to 6144 bytes', async (t) => {
  for (const sizeBytes of [1, 1024]) {
    t.ok(peekEnvelope(wrap(secret(sizeBytes, 1), ENVELOPE, {}, material)), `${sizeBytes} bytes`);
  }
  for (const sizeBytes of [0, 6145])
    t.notOk(peekEnvelope(Buffer.concat([Buffer.from('SDK\x01'), Buffer.alloc(92 + sizeBytes)])));
});

t.test('no two contexts have one encoding', async (t) => {
  const contexts = [
    {},
    { '': '' },
    { a: 'b' },
    { ab: '' },
    { '': 'ab' },
    { a: '', b: '' },
    { a: 'b', b: 'a' },
  ];
  const encodings = new Set(contexts.map((context) => canonicalContext(context).toString('hex')));
  t.equal(encodings.size, contexts.length);
  t.throws(() => canonicalContext({ a: 'x'.repeat(8192) }), { code: 'INTERNAL' });
});
