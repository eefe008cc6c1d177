/** sealdisk encrypt --all: every plain disk of the pool, with a report that says what became of each. */

import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { resolve } from 'node:path';
import { encryptAll, type Plan, planEncryption, type Row } from '../attach/encrypt-all.js';
import { errnoOf, fail, isFailure } from '../errors.js';
import { canonicalKeyUri } from '../kms/registry.js';
import { type CommonOptions, environmentOf } from './context.js';
import { LiveTable } from './live-table.js';
import { confirm, printJson, printLine, printNote, printTable } from './output.js';
import { stoppable } from './progress.js';
import { formatSize } from './units.js';

export interface AllOptions extends CommonOptions {
  readonly key: string;
  readonly match: Record<string, string>;
  readonly parallel: number;
  readonly dryRun?: boolean;
  readonly report?: string;
  readonly deletePlain?: boolean;
  readonly discard?: boolean;
  readonly yes?: boolean;
}

export async function runAll(options: AllOptions): Promise<void> {
  const pool = resolve(options.pool);
  const keyUri = canonicalKeyUri(options.key);
  const deletePlain = options.deletePlain ?? false;
  const wish = { match: options.match, keyUri, deletePlain, environment: environmentOf(options) };
  const plan = await planEncryption(pool, wish);
  tellAside(plan);
  const planned = plan.planned.map(({ row }) => row);
  if (options.dryRun) return tellPlan(planned, pool, options);
  if (deletePlain && planned.length > 0) {
    const question = `Delete each of ${planned.length} plain disks when it is encrypted?`;
    await confirm('encrypt --delete-plain', question, options.yes ?? false);
  }
  const report = new Report(options.report, { pool, keyUri, beganAt: new Date().toISOString() }, planned);
  const table = new LiveTable();
  const rows = await stoppable(
    () => table.clear(),
    (signal) =>
      encryptAll(plan.planned, {
        ...wish,
        parallel: options.parallel,
        discard: options.discard ?? false,
        signal,
        onProgress: (row, progress) => {
          if (!options.json && !signal.aborted) table.show(row.name, progress);
        },
        onRow: (row) => {
          report.put(row);
          if (row.outcome === 'working') return;
          report.trySave();
          table.end(row.name, summaryOf(report.rows), () => tellRow(row, options));
        },
      }),
  );
  for (const row of rows) report.put(row);
  report.save();
  if (options.json) printJson(report.json());
  else printLine(summaryOf(rows));
  endAsFirst(rows, pool);
}

/** The exit code is that of the first failure. */
function endAsFirst(rows: readonly Row[], path: string): void {
  const first = rows.find(({ failure }) => failure !== null)?.failure;
  if (first) process.exitCode = first.exitCode;
  else if (rows.some(({ outcome }) => outcome === 'waiting')) fail('CONVERT_CANCELLED', { path });
}

function tellAside({ others, unreadable }: Plan): void {
  for (const { path, why } of unreadable) printNote(`passed over: ${path} cannot be read: ${why}`);
  if (others > 0) printNote(`passed over: ${others} plain snapshots and images, which no copy changes`);
}

async function tellPlan(rows: readonly Row[], pool: string, options: AllOptions): Promise<void> {
  if (options.json) return printJson(rows.map(jsonOf));
  printTable(
    ['NAME', 'ID', 'SIZE', 'OUTCOME'],
    rows.map((row) => [row.name, row.id, formatSize(BigInt(row.sizeBytes)), plannedOf(row)]),
  );
  const bytes = rows.filter(({ outcome }) => outcome === 'waiting').map(({ sizeBytes }) => BigInt(sizeBytes));
  const needed = bytes.reduce((sum, one) => sum + one, 0n);
  const { bavail, bsize } = await statfs(pool, { bigint: true });
  const free = formatSize(bavail * bsize);
  printLine(`${bytes.length} to be encrypted, ${formatSize(needed)}; ${free} are free in ${pool}`);
}

function plannedOf({ outcome, failure, newPath }: Row): string {
  if (failure) return `will fail: ${failure.message} [${failure.code}]`;
  return outcome === 'waiting' ? 'to be encrypted' : `done before: ${newPath}`;
}

function tellRow({ name, outcome, failure, newId, newPath, sizeBytes, seconds }: Row, { json }: AllOptions) {
  if (json) return;
  if (failure) return printNote(`${name}: failed: ${failure.message}; ${failure.remedy} [${failure.code}]`);
  const time = outcome === 'encrypted' ? `, ${formatSize(BigInt(sizeBytes))} in ${seconds.toFixed(1)} s` : '';
  printLine(`${name}: ${outcome}${time}: ${newPath}, ${newId}`);
}

function summaryOf(rows: readonly Row[]): string {
  const count = (wanted: Row['outcome']) => rows.filter(({ outcome }) => outcome === wanted).length;
  const parts = (['encrypted', 'done before', 'failed'] as const).map((each) => `${count(each)} ${each}`);
  const rest = count('waiting') + count('working');
  return `${rows.length} plain disks: ${parts.join(', ')}${rest > 0 ? `, ${rest} not yet` : ''}`;
}

const jsonOf = ({ failure, ...row }: Row) => ({
  ...row,
  error: failure && { code: failure.code, message: failure.message },
});

/** What became of each disk, for whoever reads it later: written before the first is begun, and whole at any time. */
class Report {
  readonly #rows: Map<string, Row>;
  readonly #beganMs = performance.now();

  /** DISK_IO where it cannot be written. */
  constructor(
    private readonly path: string | undefined,
    private readonly head: { pool: string; keyUri: string; beganAt: string },
    rows: readonly Row[],
  ) {
    this.#rows = new Map(rows.map((row) => [row.path, row]));
    this.save();
  }

  get rows(): Row[] {
    return [...this.#rows.values()];
  }

  put(row: Row): void {
    this.#rows.set(row.path, row);
  }

  json() {
    const seconds = Math.round(performance.now() - this.#beganMs) / 1000;
    return { ...this.head, seconds, disks: this.rows.map(jsonOf) };
  }

  /** DISK_IO. */
  save(): void {
    const { path } = this;
    if (path === undefined) return;
    const aside = `${path}.${process.pid}`;
    try {
      writeFileSync(aside, `${JSON.stringify(this.json(), null, 2)}\n`, { mode: 0o600 });
      renameSync(aside, path);
    } catch (error) {
      rmSync(aside, { force: true });
      fail('DISK_IO', { path, errno: errnoOf(error) }, error);
    }
  }

  /** What cannot be written now is no failure of a disk; the last `save` tells. */
  trySave(): void {
    try {
      this.save();
    } catch (error) {
      if (!isFailure(error)) throw error;
    }
  }
}
