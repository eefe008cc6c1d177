import t from 'tap';
import { JSON_DEPTH_MAX, JSON_VALUES_MAX, parseJson, printable, show } from '#sealdisk/luks2/json.js';

const plain = (text: string) => JSON.parse(JSON.stringify(parseJson(text)));
const nested = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`;

t.test('reads what JSON.parse reads', async (t) => {
  const texts = [
    '{}',
    '[]',
    '"a"',
    '-1.5e3',
    ' { "a" : [ 1 , true , null , false ] , "b" : { } } ',
    '{"\\u0061":"\\ud83d\\ude00\\"\\\\/"}',
    '["\\\\"]',
    '{"":0}',
    '{"constructor":{"prototype":1},"toString":"x"}',
  ];
  for (const text of texts) t.same(plain(text), JSON.parse(text), text);
});

t.test('refuses what JSON.parse refuses', async (t) => {
  const texts = [
    '',
    ' ',
    '{',
    '[1',
    '[1,]',
    '{"a"}',
    '{"a":}',
    '{a:1}',
    "{'a':1}",
    '01',
    '+1',
    '.5',
    '1.',
    'tru',
    '"\n"',
  ];
  texts.push(
    '"\\x"',
    '"\\u12"',
    '"',
    '"\\',
    '1 2',
    '{"a":1,}',
    '[1 2]',
    '\ufeff1',
    '/**/1',
    'undefined',
    '--1',
    '"a\tb"',
  );
  for (const text of texts) {
    t.throws(() => JSON.parse(text), SyntaxError, text);
    t.throws(() => parseJson(text), { code: 'LUKS2_JSON' }, text);
  }
});

t.test('refuses a key that stands twice, at any depth', async (t) => {
  for (const text of ['{"a":1,"a":1}', '[{"b":{"a":1,"c":2,"a":3}}]', '{"\\u0061":1,"a":1}']) {
    t.throws(() => parseJson(text), { code: 'LUKS2_JSON', message: /stands twice/ }, text);
  }
  t.same(plain('[{"a":1},{"a":2}]'), [{ a: 1 }, { a: 2 }], 'but not in two objects');
});

t.test('makes objects without a prototype, and takes no __proto__', async (t) => {
  t.equal(Object.getPrototypeOf(parseJson('{}')), null);
  for (const text of ['{"__proto__":{"x":1}}', '{"\\u005f_proto__":1}']) {
    t.throws(() => parseJson(text), { code: 'LUKS2_JSON', message: /__proto__/ });
  }
});

t.test('bounds depth and the count of values', async (t) => {
  t.ok(parseJson(nested(JSON_DEPTH_MAX + 1)));
  t.throws(() => parseJson(nested(JSON_DEPTH_MAX + 2)), { code: 'LUKS2_JSON', message: /deeper/ });
  t.throws(() => parseJson(nested(2_000_000)), { code: 'LUKS2_JSON', message: /deeper/ });
  const zeros = (count: number) => `[${'0,'.repeat(count - 1)}0]`;
  t.ok(parseJson(zeros(JSON_VALUES_MAX - 1)));
  t.throws(() => parseJson(zeros(JSON_VALUES_MAX)), { code: 'LUKS2_JSON', message: /values/ });
});

t.test('refuses numbers that would be written back as others', async (t) => {
  t.same(plain('[9007199254740991,-9007199254740991,0.1]'), [9007199254740991, -9007199254740991, 0.1]);
  for (const text of ['9007199254740992', '1e300', '1e999'])
    t.throws(() => parseJson(text), { code: 'LUKS2_JSON' });
});

t.test('shows any value in one short line', async (t) => {
  t.equal(show(undefined), 'missing');
  t.equal(show({ a: 1 }), 'an object');
  t.equal(show([1]), 'an array');
  t.equal(show('a\u001bb'), '"a\\u001bb"');
  t.ok(show('x'.repeat(1000)).length < 70);
  t.equal(printable('a\nb'), 'a\\nb');
  t.equal(printable('\u202eü\x9b'), '\\u202e\\u00fc\\u009b', 'in ASCII only');
  t.ok(printable('\u001b'.repeat(60)).length < 70);
  t.ok(printable('x'.repeat(1000)).length < 70);
});
