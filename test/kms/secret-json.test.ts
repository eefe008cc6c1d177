import { randomBytes } from 'node:crypto';
import t from 'tap';
import { jsonWithSecret, takeSecret } from '#sealdisk/kms/secret-json.js';

t.test('writes what JSON.stringify writes, and takes it out again', async (t) => {
  for (let sizeBytes = 1; sizeBytes < 70; sizeBytes++) {
    const secret = randomBytes(sizeBytes);
    const fields = { a: 'x"y', b: 1 };
    const json = jsonWithSecret(fields, 'plaintext', secret, '\n');
    const base64 = secret.toString('base64');
    t.equal(json.toString(), `${JSON.stringify({ ...fields, plaintext: base64 })}\n`);
    const taken = takeSecret(json, 'plaintext', 100);
    t.ok(taken?.equals(secret), `${sizeBytes} bytes`);
    t.equal((taken as { secure?: boolean } | undefined)?.secure, true);
    t.equal(JSON.parse(json.toString()).plaintext.trim(), '', 'and it is overwritten where it stood');
  }
});

t.test('takes what other writers of JSON write', async (t) => {
  const secret = Buffer.from('fffefdfcfb', 'hex');
  for (const text of [
    '{ "plaintext" : "//79/Ps=" }',
    '{"a":{"plaintext"\t:\n"\\/\\/79\\/Ps="}}',
    '{"plaintext":"//79/Ps=","x":"y"}',
  ]) {
    t.ok(takeSecret(Buffer.from(text), 'plaintext', 5)?.equals(secret), text);
  }
});

t.test('takes nothing that is no base64 of a fitting size, and overwrites it all the same', async (t) => {
  for (const text of [
    '',
    'A',
    'AA',
    'AAA',
    'AAAA=',
    'AA==AA==',
    '====',
    'AA AA',
    'AA-_',
    'AAAAAAAA',
    'é123',
    '\\u0041AA',
  ]) {
    const json = Buffer.from(`{"plaintext":"${text}"}`);
    t.equal(takeSecret(json, 'plaintext', 5), undefined, text);
    t.match(json.toString(), /^\{"plaintext":" *"\}$/);
  }
  for (const json of ['{}', '{"plaintext"}', '{"plaintext":17}', '{"plaintext":"AAAA', '"plaintext"', '']) {
    t.equal(takeSecret(Buffer.from(json), 'plaintext', 5), undefined, json);
  }
});
