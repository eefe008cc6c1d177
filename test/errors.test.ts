import { readFileSync } from 'node:fs';
import t from 'tap';
import { CATALOGUE, type Code, EXIT_CODES, isFailure, SealdiskError } from '#sealdisk/errors.js';

const page = readFileSync('docs/errors.md', 'utf8');
const rows = [...page.matchAll(/^\| `([A-Z0-9_]+)` \| (\w+) \| (\d+) \| (.+) \|$/gm)];

t.test('every code has its row in docs/errors.md, with its group, exit code and remedy', async (t) => {
  for (const [code, { group, remedy }] of Object.entries(CATALOGUE)) {
    const row = rows.find(([, name]) => name === code);
    t.ok(row, `${code} is documented`);
    t.same(
      row?.slice(2),
      [group, `${EXIT_CODES[group]}`, remedy.replaceAll('|', '\\|')],
      `${code} says what it does`,
    );
  }
});

t.test('docs/errors.md has no code that the catalogue lacks', async (t) => {
  for (const [, code] of rows) t.ok(code && code in CATALOGUE, `${code} exists`);
  t.equal(rows.length, Object.keys(CATALOGUE).length);
});

t.test('an error crosses a process boundary unharmed', async (t) => {
  const error = new SealdiskError('LUKS2_CIPHER', { found: 'cipher_null', expected: 'aes-xts-plain64' });
  const copy = SealdiskError.fromJSON(JSON.parse(JSON.stringify(error)));
  t.equal(copy.message, error.message);
  t.equal(copy.exitCode, EXIT_CODES.refused);
  t.ok(isFailure(copy, 'LUKS2_CIPHER'));
  t.notOk(isFailure(copy, 'LUKS2_JSON' satisfies Code));
});

t.test('a message is one line without a full stop', async (t) => {
  for (const [code, { remedy }] of Object.entries(CATALOGUE)) {
    t.notMatch(remedy, /\n|\.$/, `${code}: remedy`);
    t.ok(remedy.length > 0, `${code} says what to do`);
  }
});
