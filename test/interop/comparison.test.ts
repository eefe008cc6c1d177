/** The comparison of docs/protocol.md: sealdisk's column is true today, and what a row says is shown by a test that exists. */

import { existsSync, readFileSync } from 'node:fs';
import t from 'tap';
import { GROUPS, measure } from './probe/measure.js';
import { SEALDISK } from './probe/servers.js';
import { parse, render } from './probe/table.js';

t.setTimeout(280_000);

const ROOT = new URL('../../', import.meta.url);
const page = readFileSync(new URL('docs/protocol.md', ROOT), 'utf8');
const rows = GROUPS.flatMap((group) => group.rows);

t.test('sealdisk does what docs/protocol.md says of it, row by row', async (t) => {
  const cells = await measure(t, SEALDISK);
  const measured = parse(render([{ name: SEALDISK.name, cells }]));
  const said = parse(page).map(([subject, rule, own, ...others]) => [subject, rule, own, others.at(-1)]);
  t.equal(said.length, rows.length);
  for (const [at, row] of measured.entries()) t.same(said[at], row, row.slice(0, 2).join(': '));
  t.same(
    cells.flatMap((cell, at) => (/^wrong/.test(cell) ? [`${rows[at]?.subject}: ${cell}`] : [])),
    [],
    'and breaks no rule',
  );
});

t.test('each row of the comparison names a test that exists', async (t) => {
  for (const { subject, proof } of rows) {
    const [file, title] = proof;
    const path = new URL(file, ROOT);
    const source = existsSync(path) ? readFileSync(path, 'utf8') : '';
    const titled = [
      `test('${title}`,
      `test(\`${title}`,
      `test(\n  '${title}`,
      `test("${title}`,
      `TEST("${title}`,
    ];
    t.ok(
      titled.some((start) => source.includes(start)),
      `${subject}: ${file}, ${title}`,
    );
  }
});
