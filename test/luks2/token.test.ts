import t from 'tap';
import type { Luks2Header } from '#sealdisk/luks2/header.js';
import { type JsonObject, parseJson } from '#sealdisk/luks2/json.js';
import { decodeToken, encodeToken, type SealdiskToken, tokenOf, withToken } from '#sealdisk/luks2/token.js';
import { sampleHeader, sampleToken } from './sample.js';

const reread = (json: JsonObject) => parseJson(JSON.stringify(json)) as JsonObject;

t.test('reads the token that it wrote', async (t) => {
  const tokens: SealdiskToken[] = [
    sampleToken(),
    sampleToken({ tags: {}, name: '', source: 'snap-1', object: { kind: 'image', id: 'img-1' } }),
    sampleToken({ name: 'Größe 😀', tags: { constructor: 'x', '7': '', ключ: 'значение' } }),
    sampleToken({ holes: true, generation: 7 }),
    sampleToken({ wrappedKey: Buffer.alloc(4096, 1), headerMac: Buffer.alloc(32, 0xff) }),
  ];
  for (const token of tokens) t.same(decodeToken(reread(encodeToken(token))), token);
});

t.test('writes the fields that docs/format.md describes', async (t) => {
  t.same(Object.keys(encodeToken(sampleToken())), [
    'type',
    'keyslots',
    'version',
    'key_uri',
    'key_id',
    'key_version',
    'wrapped_key',
    'object',
    'name',
    'source',
    'created_at',
    'tags',
    'header_mac',
  ]);
});

t.test('leaves out holes and a generation where there are none, as tokens did before them', async (t) => {
  const later = Object.keys(encodeToken(sampleToken({ holes: true, generation: 1 })));
  t.same(later.slice(-3), ['holes', 'generation', 'header_mac']);
});

t.test('refuses to write a token that it would not read', async (t) => {
  const bad: Partial<SealdiskToken>[] = [
    { keyUri: '' },
    { wrappedKey: Buffer.alloc(0) },
    { generation: 0.5 },
    { generation: 2 ** 53 },
    { wrappedKey: Buffer.alloc(4097) },
    { headerMac: Buffer.alloc(16) },
    { name: 'a\nb' },
    { createdAt: 'yesterday' },
    { tags: { ['k'.repeat(129)]: 'v' } },
    { tags: { k: 'v'.repeat(257) } },
    { tags: JSON.parse('{"__proto__":"v"}') },
  ];
  for (const changes of bad) t.throws(() => encodeToken(sampleToken(changes)), { code: 'LUKS2_TOKEN' });
});

t.test('finds its token among those of others, and puts another in its place', async (t) => {
  const header = sampleHeader();
  const others = { '0': { type: 'luks2-keyring', keyslots: [] }, '4': { type: 'x', keyslots: [] } };
  const own = header.metadata.tokens['0'] as JsonObject;
  const mixed: Luks2Header = { ...header, metadata: { ...header.metadata, tokens: { ...others, '2': own } } };
  t.equal(tokenOf(mixed).name, 'data');
  const renamed = withToken(mixed, sampleToken({ name: 'renamed' }));
  t.equal(tokenOf(renamed).name, 'renamed');
  t.same(Object.keys(renamed.metadata.tokens), ['0', '2', '4']);
});

t.test('puts a token where none was under the first free id', async (t) => {
  const header = sampleHeader();
  const tokens = { '0': { type: 'x', keyslots: [] } };
  const without = { ...header, metadata: { ...header.metadata, tokens } };
  t.throws(() => tokenOf(without), { code: 'LUKS2_TOKEN_MISSING', facts: { uuid: header.uuid } });
  t.same(Object.keys(withToken(without, sampleToken()).metadata.tokens), ['0', '1']);
});
