import t from 'tap';
import { DEFAULT_KEY_URI, parseLocal } from '#sealdisk/kms/local/ref.js';
import { canonicalKeyUri } from '#sealdisk/kms/registry.js';

const KEY_ID = '80c72a39-acbb-41bc-84bf-876a7f74fc21';

t.test('takes every spelling of a local key to one', async (t) => {
  for (const text of ['alias/x', 'local:alias/x', 'LOCAL:alias/x'])
    t.equal(canonicalKeyUri(text), 'local:alias/x');
  for (const text of [KEY_ID, `local:${KEY_ID}`, KEY_ID.toUpperCase()]) {
    t.equal(canonicalKeyUri(text), `local:${KEY_ID}`);
  }
  t.equal(canonicalKeyUri(DEFAULT_KEY_URI), DEFAULT_KEY_URI);
  t.same(parseLocal('alias/team/disk-1').ref, { kind: 'alias', alias: 'alias/team/disk-1' });
});

t.test('refuses what is no key', async (t) => {
  const none = [
    '',
    'x',
    'alias/',
    'alias/a b',
    'alias/ä',
    `alias/${'a'.repeat(256)}`,
    `${KEY_ID}0`,
    'local:',
    'alias/a\n',
  ];
  for (const text of none)
    t.throws(() => canonicalKeyUri(text), { code: 'KEY_URI_SYNTAX' }, JSON.stringify(text));
  t.equal(canonicalKeyUri(`alias/${'a'.repeat(255)}`).length, 267);
});

t.test('refuses an unknown scheme, a name of Object among them', async (t) => {
  for (const text of ['nokms:alias/x', 'constructor:x', 'toString:x']) {
    t.throws(() => canonicalKeyUri(text), { code: 'KEY_URI_SCHEME' }, text);
  }
});

t.test('refuses parameters and never shows what they hold', async (t) => {
  for (const text of ['alias/x?pin=4711', 'local:alias/x;pin=4711', 'alias/x#4711', 'secret://4711@host/x']) {
    try {
      canonicalKeyUri(text);
      t.fail(`${text} was taken`);
    } catch (error) {
      t.match((error as { code: string }).code, /^KEY_URI_/);
      t.notMatch((error as Error).message, /4711/);
    }
  }
});

t.test('refuses one that no token can hold', async (t) => {
  const key = (bytes: number) => `exec:///kms?key=${'%26'.repeat(bytes)}`;
  t.equal(canonicalKeyUri(key(200)).length, 616);
  t.throws(() => canonicalKeyUri(`exec:///${'%26'.repeat(150)}?key=${'%26'.repeat(200)}`), {
    code: 'KEY_URI_SYNTAX',
    message: /longer than 1024 bytes/,
  });
});

t.test('shows a bad URI on one line', async (t) => {
  try {
    canonicalKeyUri('alias/a\nb\x1b[2J');
    t.fail('taken');
  } catch (error) {
    t.match((error as Error).message, /^[\x20-\x7e]+$/);
  }
});
