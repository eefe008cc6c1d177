/** What the pages name is there. */

import { existsSync, readFileSync } from 'node:fs';
import t from 'tap';

t.test('every test that the threat model names exists', async (t) => {
  const page = readFileSync('docs/threat-model.md', 'utf8');
  const paths = [...page.matchAll(/test\/[\w./-]+\.ts/g)].map(([path]) => path);
  t.ok(paths.length > 30, `${paths.length} paths`);
  for (const path of new Set(paths)) t.ok(existsSync(path), path);
});

t.test('every row of its tables says by what it is shown, or that it is not', async (t) => {
  const page = readFileSync('docs/threat-model.md', 'utf8');
  const rows = page.split('\n').filter((line) => line.startsWith('| ') && !line.includes('shown by |'));
  for (const row of rows) t.match(row.split('|').at(-2), /test\/|not shown/, row);
});
