/**
 * When a transmission has been idle for too long: no request came, and none waits for its answer.
 *
 * The decision is pure: what the transmission did and the time come in. It looks eight times in an idle time, so a
 * transmission ends after one idle time and at most an eighth more. A request that a hung disk has parked waits, so
 * nobody is idle behind a shut gate.
 */

import type { Transmission } from './connection.js';

export interface Activity {
  /** Requests that have come in; it only grows. */
  readonly requests: bigint;
  /** Requests that are not answered yet. */
  readonly waiting: number;
}

export interface Watch {
  readonly requests: bigint;
  /** When it was last seen at work. */
  readonly busyAtMs: number;
}

const LOOKS_PER_IDLE_TIME = 8;

export function decide(
  watch: Watch,
  { requests, waiting }: Activity,
  nowMs: number,
  idleMs: number,
): { readonly next: Watch; readonly idle: boolean } {
  const busy = requests !== watch.requests || waiting > 0;
  const next = busy ? { requests, busyAtMs: nowMs } : watch;
  return { next, idle: nowMs - next.busyAtMs >= idleMs };
}

/** Calls `onIdle` once, when the transmission was idle for `idleMs`; not for one that does not tell. The way to stop. */
export function watchIdle(transmission: Transmission, idleMs: number, onIdle: () => void): () => void {
  const tell = transmission.activity?.bind(transmission);
  if (!tell) return () => {};
  let watch: Watch = { requests: tell().requests, busyAtMs: performance.now() };
  const look = (): void => {
    const { next, idle } = decide(watch, tell(), performance.now(), idleMs);
    watch = next;
    if (!idle) return;
    clearInterval(timer);
    onIdle();
  };
  const timer = setInterval(look, Math.max(1, Math.ceil(idleMs / LOOKS_PER_IDLE_TIME)));
  return () => clearInterval(timer);
}
