/** What the command line prints. The only file that writes to standard output; errors and questions go to standard error. */

import { createInterface } from 'node:readline/promises';
import { errnoOf, fail, SealdiskError } from '../errors.js';

/**
 * Who reads our output may go away (`| head`): the command still does its work. An output that cannot be written for
 * another reason (a full disk) is a failure.
 */
export function watchOutput(): void {
  process.stdout.on('error', (error) => {
    const errno = errnoOf(error);
    if (errno === 'EPIPE') return;
    const failure = new SealdiskError('DISK_IO', { path: 'standard output', errno }, error);
    printFailure(failure, false);
    process.exit(failure.exitCode);
  });
  // Nobody is left to be told.
  process.stderr.on('error', () => {});
}

export const printLine = (line: string) => process.stdout.write(`${line}\n`);

/** What another process printed, as it comes. */
export const passOn = (text: string, to: 'out' | 'err') =>
  (to === 'out' ? process.stdout : process.stderr).write(text);

/** For scripts: one JSON value. bigint as a decimal string. */
export function printJson(value: unknown): void {
  const text = JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? `${v}` : v), 2);
  process.stdout.write(`${text}\n`);
}

/** Columns under their heads, two spaces apart. */
export function printTable(heads: string[], rows: string[][]): void {
  const widths = heads.map((head, i) => Math.max(head.length, ...rows.map((row) => (row[i] ?? '').length)));
  for (const row of [heads, ...rows]) {
    printLine(
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    );
  }
}

/** `name: value` lines, the values in a column; empty values are left out. */
export function printFields(fields: Record<string, string>): void {
  const width = Math.max(...Object.keys(fields).map((name) => name.length)) + 2;
  for (const [name, value] of Object.entries(fields)) {
    if (value !== '') printLine(`${`${name}:`.padEnd(width)}${value}`);
  }
}

/** The one line of a failed command. */
export function printFailure(error: SealdiskError, verbose: boolean): void {
  const cause = verbose && error.cause instanceof Error ? `\n${error.cause.stack}` : '';
  process.stderr.write(`sealdisk: ${error.message}; ${error.remedy} [${error.code}]${cause}\n`);
}

export const printNote = (line: string) => process.stderr.write(`${line}\n`);

/** Asks unless `yes`; anything but y or yes, and no terminal to ask, fail with NOT_CONFIRMED. */
export async function confirm(what: string, question: string, yes: boolean): Promise<void> {
  if (yes) return;
  if (!process.stdin.isTTY) fail('NOT_CONFIRMED', { what });
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const reply = await terminal.question(`${question} [y/N] `);
    if (!/^y(es)?$/i.test(reply.trim())) fail('NOT_CONFIRMED', { what });
  } finally {
    terminal.close();
  }
}
