// Writes the table of docs/errors.md from the catalogue: `node scripts/errors-page.mjs`, after `make build`.
import { readFileSync, writeFileSync } from 'node:fs';
import { CATALOGUE, EXIT_CODES } from '../dist/errors.js';

const PAGE = new URL('../docs/errors.md', import.meta.url);
const rows = Object.entries(CATALOGUE).map(
  ([code, { group, remedy }]) =>
    `| \`${code}\` | ${group} | ${EXIT_CODES[group]} | ${remedy.replaceAll('|', '\\|')} |`,
);
const table = ['| code | group | exit | what to do |', '|---|---|---|---|', ...rows, ''].join('\n');
writeFileSync(PAGE, readFileSync(PAGE, 'utf8').replace(/(?<=\n)\| code \|[\s\S]*$/, table));
