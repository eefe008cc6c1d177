import t from 'tap';
import type { Digest, Luks2Header, Segment } from '#sealdisk/luks2/header.js';
import { canonicalJson, macMessage } from '#sealdisk/luks2/mac.js';
import { withToken } from '#sealdisk/luks2/token.js';
import { DATA_KEY, macOf, sampleHeader, sampleToken, UUID } from './sample.js';

const header = sampleHeader();
const message = macMessage(header);
const metadata = (changes: Partial<Luks2Header['metadata']>): Luks2Header => ({
  ...header,
  metadata: { ...header.metadata, ...changes },
});
const segment = (changes: object) =>
  metadata({ segments: { '0': { ...header.metadata.segments['0'], ...changes } as Segment } });
const digest = (changes: object) =>
  metadata({ digests: { '0': { ...(header.metadata.digests['0'] as Digest), ...changes } as Digest } });

t.test('is the canonical form that docs/format.md shows', async (t) => {
  t.equal(
    message.toString(),
    '{"digest":{"digest":"Zkz9mYG1cmC2QHFzvc91aaYrqDEi91iKvjSqImNECpA=","hash":"sha256","iterations":1000,' +
      '"salt":"WlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo=","segments":["0"],"type":"pbkdf2"},' +
      `"object":{"id":"${UUID}","kind":"disk"},"requirements":[],` +
      '"segments":{"0":{"encryption":"aes-xts-plain64","iv_tweak":"0","offset":"16777216","sector_size":4096,' +
      `"size":"dynamic","type":"crypt"}},"uuid":"${UUID}"}`,
  );
});

t.test('has the HMAC that another program computes (Python, from docs/format.md)', async (t) => {
  t.equal(macOf(header, DATA_KEY).toString('base64'), '5GgFlPZ9S5Y7vXD8AODBV4NpjcPR2CrpKN+jW0jt0uo=');
});

t.test('has the form and the HMAC of docs/format.md on a disk with holes and a generation', async (t) => {
  const later = sampleHeader({ token: { holes: true, generation: 2 } });
  const tail = message.toString().slice(message.toString().indexOf('"object"'));
  const head = message.toString().slice(0, -tail.length);
  t.equal(macMessage(later).toString(), `${head}"generation":2,"holes":true,${tail}`);
  t.equal(macOf(later).toString('base64'), '3QAMVVwr45oWWMDKwhnocy+3+7bgSc1IvzuJOpkheJ0=');
});

t.test('changes with everything that a thief could twist', async (t) => {
  const twists: Record<string, Luks2Header> = {
    uuid: { ...header, uuid: UUID.replace('0', '1') },
    offset: segment({ offset: '16781312' }),
    'sector size': segment({ sector_size: 512 }),
    cipher: segment({ encryption: 'aes-cbc-plain64' }),
    iv_tweak: segment({ iv_tweak: '8' }),
    'a new segment field': segment({ flags: [] }),
    requirements: metadata({ config: { ...header.metadata.config, requirements: { mandatory: ['x'] } } }),
    'digest value': digest({ digest: Buffer.alloc(32).toString('base64') }),
    'digest salt': digest({ salt: Buffer.alloc(32).toString('base64') }),
    'digest hash': digest({ hash: 'sha512' }),
    iterations: digest({ iterations: 1001 }),
    'digest segments': digest({ segments: [] }),
    'object kind': withToken(header, sampleToken({ object: { kind: 'snapshot', id: UUID } })),
    'object id': withToken(header, sampleToken({ object: { kind: 'disk', id: 'another' } })),
    holes: withToken(header, sampleToken({ holes: true })),
    'what the key is bound to': withToken(header, sampleToken({ wrappedFor: UUID })),
    generation: withToken(header, sampleToken({ generation: 1 })),
  };
  for (const [what, twisted] of Object.entries(twists)) t.notOk(macMessage(twisted).equals(message), what);
});

t.test('does not change with what the owner may change', async (t) => {
  const keyslots = { '0': { type: 'luks2', area: { offset: '32768', size: '258048' } } };
  const allowed: Record<string, Luks2Header> = {
    label: { ...header, label: 'other', subsystem: 'x' },
    'sequence id': { ...header, seqid: 9n },
    keyslots: metadata({ keyslots }),
    "the digest's list of keyslots": digest({ keyslots: ['0'] }),
    'the id of the digest': metadata({ digests: { '3': header.metadata.digests['0'] as Digest } }),
    flags: metadata({ config: { ...header.metadata.config, flags: ['allow-discards'] } }),
    'no requirements, said aloud': metadata({
      config: { ...header.metadata.config, requirements: { mandatory: [] } },
    }),
    'name, tags and wrapped key': withToken(
      header,
      sampleToken({ name: 'n', tags: { a: 'b' }, wrappedKey: Buffer.alloc(9), keyVersion: '2' }),
    ),
    'order of keys': segment({ type: undefined, ...reversed(header.metadata.segments['0']) }),
  };
  for (const [what, changed] of Object.entries(allowed))
    t.equal(`${macMessage(changed)}`, `${message}`, what);
});

t.test('sorts keys by code unit, not by insertion nor by number', async (t) => {
  t.equal(
    canonicalJson({ b: 1, a: { d: [], c: 'ü\n' }, '10': 1, '9': 2, B: [{ y: 1, x: 2 }] }),
    ['{"10":1,"9":2,"B":[{"x":2,"y":1}],"a":{"c":"ü\\n","d":[]},"b":1}'].join(''),
  );
});

function reversed(object: object): object {
  return Object.fromEntries(Object.entries(object).reverse());
}
