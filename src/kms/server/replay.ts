/**
 * Requests that were carried out already, remembered for as long as their date would let them pass again.
 *
 * Kept by the minute of the request's own date, so that forgetting costs nothing. Only what carries a right signature is
 * remembered: nobody else can fill the memory. It lasts as long as the process.
 */

import { createHash } from 'node:crypto';

const MINUTE_MS = 60_000;

export class Replays {
  readonly #byMinute = new Map<number, Set<string>>();

  /** `windowMs`: how far a request's date may lie from now, to either side. */
  constructor(private readonly windowMs: number) {}

  /** True the first time that `mark` comes with this date; false when it came before. */
  first(mark: string, dateMs: number, nowMs: number): boolean {
    this.#forget(nowMs);
    const minute = Math.floor(dateMs / MINUTE_MS);
    const marks = this.#byMinute.get(minute) ?? new Set();
    this.#byMinute.set(minute, marks);
    const short = createHash('sha256').update(mark).digest().toString('latin1', 0, 16);
    if (marks.has(short)) return false;
    marks.add(short);
    return true;
  }

  #forget(nowMs: number): void {
    for (const minute of this.#byMinute.keys()) {
      if ((minute + 1) * MINUTE_MS < nowMs - this.windowMs) this.#byMinute.delete(minute);
    }
  }
}
