// Asks sealdisk and the other NBD servers every question of test/interop/probe and writes the table of docs/protocol.md.
// `node scripts/compare-nbd.mjs [name]`, after `make build-tests`; with part of a server's name it only prints that column.
import { readFileSync, writeFileSync } from 'node:fs';
import { GROUPS, measure } from '../dist-test/interop/probe/measure.js';
import { OTHERS, SEALDISK } from '../dist-test/interop/probe/servers.js';
import { placed, render } from '../dist-test/interop/probe/table.js';

const PAGE = new URL('../docs/protocol.md', import.meta.url);

async function column(kind) {
  const ends = [];
  try {
    return { name: kind.name, cells: await measure({ teardown: (end) => ends.unshift(end) }, kind) };
  } finally {
    for (const end of ends) await end();
  }
}

const wanted = process.argv[2];
const columns = [];
for (const kind of [SEALDISK, ...OTHERS]) {
  if (wanted === undefined || kind.name.includes(wanted)) columns.push(await column(kind));
}
if (wanted === undefined) {
  writeFileSync(PAGE, placed(readFileSync(PAGE, 'utf8'), render(columns)));
} else {
  const subjects = GROUPS.flatMap(({ rows }) => rows.map(({ subject }) => subject));
  for (const { cells } of columns) {
    for (const [at, cell] of cells.entries()) process.stdout.write(`${subjects[at].padEnd(60)} ${cell}\n`);
  }
}
