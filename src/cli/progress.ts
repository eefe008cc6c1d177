/**
 * How far long work is, on standard error: one line that is written over on a terminal, a line now and then elsewhere, so
 * that a log shows that it goes on. Rate and time left are of the last seconds, not of the beginning.
 */

import type { BulkProgress } from '../disk/bulk.js';
import { printNote } from './output.js';
import { formatSize } from './units.js';

const TERMINAL_EVERY_MS = 200;
const PLAIN_EVERY_MS = 5_000;
/** Rates are taken over so long. */
const WINDOW_MS = 5_000;

/** Progress of any kind of work. */
type Done = Omit<BulkProgress, 'phase'> & { readonly phase: string };

interface Seen {
  readonly atMs: number;
  readonly doneBytes: bigint;
}

/** What is done of one piece of work after another, with what is needed to tell how fast. */
export class Pace {
  #phase = '';
  #seen: Seen[] = [];

  /** Takes it down; whether another phase has begun. */
  add({ phase, doneBytes }: Done, atMs: number): boolean {
    const begins = phase !== this.#phase;
    if (begins) this.#seen = [];
    this.#phase = phase;
    this.#seen.push({ atMs, doneBytes });
    while (this.#seen.length > 2 && atMs - (this.#seen[1] as Seen).atMs > WINDOW_MS) this.#seen.shift();
    return begins;
  }

  line(done: Done): string {
    return lineOf(done, this.#seen);
  }
}

/** Tells of one piece of work at a time. */
export class ProgressLine {
  readonly #pace = new Pace();
  #toldMs = 0;
  #open = false;

  constructor(
    private readonly subject: string,
    private readonly terminal = process.stderr.isTTY === true,
    private readonly write: (text: string) => void = (text) => process.stderr.write(text),
    private readonly now: () => number = () => performance.now(),
  ) {}

  show(progress: BulkProgress): void {
    const atMs = this.now();
    // A plain line only for what takes long.
    if (this.#pace.add(progress, atMs)) this.#toldMs = atMs;
    if (atMs - this.#toldMs < (this.terminal ? TERMINAL_EVERY_MS : PLAIN_EVERY_MS)) return;
    this.#toldMs = atMs;
    const line = `${this.subject}: ${this.#pace.line(progress)}`;
    this.write(this.terminal ? `\r\x1b[K${line}` : `${line}\n`);
    this.#open = this.terminal;
  }

  /** Takes the line away from a terminal. */
  end(): void {
    if (this.#open) this.write('\r\x1b[K');
    this.#open = false;
  }
}

/** "copy 43 %, 1.2 GiB of 3 GiB, 812 MiB/s, 3 s left". */
export function lineOf({ phase, doneBytes, totalBytes }: Done, seen: readonly Seen[]): string {
  const share = totalBytes === 0n ? 100n : (doneBytes * 100n) / totalBytes;
  const [first, last] = [seen[0], seen.at(-1)];
  const spanMs = first && last ? last.atMs - first.atMs : 0;
  const perSecond =
    first && last && spanMs > 0 ? (Number(last.doneBytes - first.doneBytes) / spanMs) * 1000 : 0;
  const rate = perSecond >= 1 ? `, ${formatSize(BigInt(Math.round(perSecond)))}/s` : '';
  const left = perSecond >= 1 ? `, ${formatTime(Number(totalBytes - doneBytes) / perSecond)} left` : '';
  return `${phase} ${share} %, ${formatSize(doneBytes)} of ${formatSize(totalBytes)}${rate}${left}`;
}

/** "3 s", "2 min", "1 h 5 min". */
export function formatTime(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 120) return `${whole} s`;
  const minutes = Math.ceil(whole / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/**
 * Runs long work that tells how far it is (not with `quiet`) and ends on SIGINT and SIGTERM, when it has put things in
 * order.
 */
export async function withProgress<T>(
  subject: string,
  quiet: boolean,
  work: (how: { onProgress: (progress: BulkProgress) => void; signal: AbortSignal }) => Promise<T>,
): Promise<T> {
  const line = new ProgressLine(subject);
  try {
    return await stoppable(
      () => line.end(),
      (signal) => {
        const onProgress = (progress: BulkProgress) => {
          if (!quiet && !signal.aborted) line.show(progress);
        };
        return work({ onProgress, signal });
      },
    );
  } finally {
    line.end();
  }
}

/** Runs work that ends when it has put things in order after SIGINT, SIGTERM or SIGHUP; `onStop` is called then. */
export async function stoppable<T>(
  onStop: () => void,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const stop = new AbortController();
  const abort = () => {
    onStop();
    printNote('stopping');
    stop.abort();
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.once(signal, abort);
  try {
    return await work(stop.signal);
  } finally {
    for (const signal of signals) process.off(signal, abort);
  }
}
