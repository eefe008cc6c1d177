/** sealdisk kms audit: who did what with which key; and whether the log is whole. */

import { join } from 'node:path';
import type { Command } from 'commander';
import { fail } from '../errors.js';
import type { AuditLine } from '../kms/local/audit-line.js';
import { readAudit, verifyAudit } from '../kms/local/audit-verify.js';
import { kmsDirOf } from '../kms/local/provider.js';
import { action, type CommonOptions, common, environmentOf } from './context.js';
import { printJson, printLine } from './output.js';
import { askOnTerminal } from './passphrase.js';

interface Filter {
  readonly verify?: boolean;
  readonly key?: string;
  readonly operation?: string;
  readonly who?: string;
  readonly outcome?: string;
  readonly since?: string;
  readonly until?: string;
  readonly last?: string;
}

export function register(group: Command): void {
  const command = group
    .command('audit')
    .description('print the audit log, oldest line first, or check that it is whole')
    .option('--verify', 'check every line against the one before, and the end against its sealed head')
    .option('--key <id>', 'only lines of this key')
    .option('--operation <name>', 'only this operation, as Decrypt')
    .option('--who <name>', 'only calls of this one, as "uid 0"')
    .option('--outcome <code>', 'only this outcome: ok, failed, or a code')
    .option('--since <time>', 'only from this time on, as 2026-11-28T12:00Z')
    .option('--until <time>', 'only before this time')
    .option('--last <n>', 'only the last n of them');
  common(command, 'sealdisk kms audit --outcome failed --last 20\nsealdisk kms audit --verify').action(
    action(async (options: CommonOptions & Filter) => {
      const dir = kmsDirOf(environmentOf(options).poolDir);
      askOnTerminal();
      if (options.verify) await verify(dir, options.json ?? false);
      else await print(dir, options);
    }),
  );
}

async function verify(dir: string, json: boolean): Promise<void> {
  const verdict = await verifyAudit(dir);
  if (json) printJson(verdict);
  if (!verdict.ok) {
    fail('KMS_AUDIT', { path: join(dir, 'audit.log'), line: verdict.line, why: verdict.why });
  }
  if (json) return;
  const { lines, unsealed, lost } = verdict;
  printLine(`whole: ${lines} lines`);
  if (unsealed > 0)
    printLine(`${unsealed} of them were sealed by the next writer, because theirs was killed`);
  if (lost > 0) printLine(`${lost} lines of uses were lost in a power failure`);
}

async function print(dir: string, options: CommonOptions & Filter): Promise<void> {
  const wanted = filterOf(options);
  const keep = options.last === undefined ? undefined : count(options.last);
  const show = (line: AuditLine): void => void printLine(options.json ? JSON.stringify(line) : textOf(line));
  const last: AuditLine[] = [];
  for await (const line of readAudit(dir)) {
    if (!wanted(line)) continue;
    if (keep === undefined) show(line);
    else if (last.push(line) > keep) last.shift();
  }
  last.forEach(show);
}

const textOf = ({ time, who, operation, key, outcome }: AuditLine): string =>
  [time, who, operation, key, outcome].filter((field) => field !== '').join('  ');

function filterOf({ key, operation, who, outcome, since, until }: Filter): (line: AuditLine) => boolean {
  const from = since === undefined ? Number.NEGATIVE_INFINITY : timeOf(since);
  const to = until === undefined ? Number.POSITIVE_INFINITY : timeOf(until);
  const ended = (found: string): boolean => (outcome === 'failed' ? found !== 'ok' : found === outcome);
  return (line) => {
    const at = Date.parse(line.time);
    return (
      (key === undefined || line.key === key) &&
      (operation === undefined || line.operation === operation) &&
      (who === undefined || line.who === who) &&
      (outcome === undefined || ended(line.outcome)) &&
      at >= from &&
      at < to
    );
  };
}

function timeOf(text: string): number {
  const time = Date.parse(text);
  if (Number.isNaN(time)) fail('USAGE', { what: `"${text}" is not a time, as 2026-11-28T12:00Z` });
  return time;
}

function count(text: string): number {
  if (!/^[1-9][0-9]{0,8}$/.test(text)) fail('USAGE', { what: `"${text}" is not a number of lines` });
  return Number(text);
}
