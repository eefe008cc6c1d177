/** The table of docs/protocol.md: made of measured columns, and read back for the test that measures again. */

import { GROUPS } from './measure.js';
import type { Row } from './target.js';

export const BEGIN = '<!-- measured: make compare writes what stands between these lines -->';
export const END = '<!-- /measured -->';

export interface Column {
  readonly name: string;
  readonly cells: readonly string[];
}

/** How often a cell may be wrong is the reader's to count: it stands out. */
const shown = (text: string): string => text.replace(/^wrong: (.*)$/, '**wrong**: $1');

const link = ([file]: Row['proof']): string => {
  const name = file.replace(/^test\//, '').replace(/\.(test\.ts|cc)$/, '');
  return `[${name}](../${file})`;
};

export function render(columns: readonly Column[]): string {
  const lines: string[] = [];
  let at = 0;
  for (const { title, rows } of GROUPS) {
    lines.push('', `### ${title}`, '');
    lines.push(`| | rule | ${columns.map(({ name }) => name).join(' | ')} | test |`);
    lines.push(`|---|---|${columns.map(() => '---|').join('')}---|`);
    for (const row of rows) {
      const cells = columns.map(({ cells }) => shown(cells[at] ?? ''));
      lines.push(`| ${[row.subject, row.rule, ...cells, link(row.proof)].join(' | ')} |`);
      at++;
    }
  }
  return `${BEGIN}\n${lines.join('\n')}\n\n${END}`;
}

export function placed(page: string, table: string): string {
  const [from, to] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (from < 0 || to < from) throw new Error('the page has no place for the table');
  return page.slice(0, from) + table + page.slice(to + END.length);
}

/** What the page says, a list of cells for each row. */
export function parse(page: string): string[][] {
  const table = page.slice(page.indexOf(BEGIN), page.indexOf(END));
  const lines = table.split('\n').filter((line) => line.startsWith('| ') && !line.startsWith('| |'));
  return lines.map((line) => line.slice(2, -2).split(' | '));
}
