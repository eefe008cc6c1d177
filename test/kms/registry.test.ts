import { readFileSync } from 'node:fs';
import t from 'tap';
import { openProvider, registry, schemeIds } from '#sealdisk/kms/registry.js';

const environment = { poolDir: '/nonexistent', env: {} };
const scheme = (id: string) => ({
  scheme: id,
  canonical: (uri: string) => uri,
  open: () => Promise.reject(new Error('not opened here')),
});

t.test('knows local', async (t) => {
  t.ok(schemeIds().includes('local'));
  t.equal((await openProvider('alias/x', environment)).keyUri, 'local:alias/x');
});

t.test('knows no scheme that docs/providers.md does not', async (t) => {
  const page = readFileSync('docs/providers.md', 'utf8');
  for (const id of schemeIds()) t.match(page, new RegExp(`^\\| \\[\`${id}:\`\\]\\(`, 'm'), id);
});

t.test('refuses a scheme that this build has not', async (t) => {
  await t.rejects(openProvider('nokms:x', environment), { code: 'KEY_URI_SCHEME' });
});

t.test('stops the start when a scheme is registered twice', async (t) => {
  t.equal(registry([scheme('a'), scheme('b')]).size, 2);
  t.throws(() => registry([scheme('a'), scheme('a')]), {
    code: 'INTERNAL',
    message: /"a" is registered twice/,
  });
});
