import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';
import { optional } from '#sealdisk/kms/optional.js';
import { tempPool } from './pool.js';

const require = createRequire(import.meta.url);

t.test('gives the package that is there', async (t) => {
  t.type((await optional('x', 'pino', () => import('pino'))).pino, 'function');
});

t.test('names a package that is not installed, however it is looked for', async (t) => {
  const failure = { code: 'KMS_PACKAGE', message: /keys of x: need the package @no\/such-package/ };
  const name = '@no/such-package';
  await t.rejects(
    optional('x', name, () => import(name)),
    failure,
  );
  await t.rejects(
    optional('x', name, async () => require(name)),
    failure,
    'as the bundle does',
  );
});

t.test('does not call a broken package missing', async (t) => {
  const broken = join(await tempPool(t), 'broken.mjs');
  writeFileSync(broken, "import 'a-package-of-its-own';\n");
  await t.rejects(
    optional('x', 'broken', () => import(pathToFileURL(broken).href)),
    { code: 'ERR_MODULE_NOT_FOUND' },
  );
});
