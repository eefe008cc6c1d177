/**
 * Several works at once on a terminal: a line for each at the bottom, written over as it goes on, and above them what is
 * over, for good. Elsewhere each work tells of itself now and then (progress.ts).
 */

import type { BulkProgress } from '../disk/bulk.js';
import { Pace, ProgressLine } from './progress.js';

const EVERY_MS = 200;
const COLUMNS = 80;

interface Work {
  readonly pace: Pace;
  readonly line: ProgressLine;
  readonly text: string;
}

export class LiveTable {
  readonly #works = new Map<string, Work>();
  #summary = '';
  #shown = 0;
  #drawnMs = 0;

  constructor(
    private readonly terminal = process.stderr.isTTY === true,
    private readonly write: (text: string) => void = (text) => process.stderr.write(text),
    private readonly now: () => number = () => performance.now(),
    private readonly columns: () => number = () => process.stderr.columns ?? COLUMNS,
  ) {}

  show(subject: string, progress: BulkProgress): void {
    const { pace, line } = this.#works.get(subject) ?? this.#begin(subject);
    pace.add(progress, this.now());
    this.#works.set(subject, { pace, line, text: pace.line(progress) });
    if (!this.terminal) line.show(progress);
    else if (this.now() - this.#drawnMs >= EVERY_MS) this.#draw();
  }

  #begin(subject: string): Work {
    const line = new ProgressLine(subject, false, this.write, this.now);
    const work = { pace: new Pace(), line, text: '' };
    this.#works.set(subject, work);
    return work;
  }

  /** The work is over: `tell` prints what is to stay of it; `summary` is the last line from now on. */
  end(subject: string, summary: string, tell: () => void): void {
    this.#works.delete(subject);
    this.#summary = summary;
    this.clear();
    tell();
    if (this.terminal && this.#works.size > 0) this.#draw();
  }

  #draw(): void {
    this.clear();
    this.#drawnMs = this.now();
    const lines = [...this.#works].map(([subject, { text }]) => `${subject}: ${text}`);
    if (this.#summary !== '') lines.push(this.#summary);
    // A line that wraps could not be found again.
    for (const line of lines) this.write(`${line.slice(0, this.columns() - 1)}\n`);
    this.#shown = lines.length;
  }

  /** Takes its lines away from the terminal. */
  clear(): void {
    if (this.#shown > 0) this.write(`\x1b[${this.#shown}A\r\x1b[J`);
    this.#shown = 0;
  }
}
