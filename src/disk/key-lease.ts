/**
 * The key lease: the right to hold a data key, and when it ends.
 *
 * A decision is pure: what the KMS answered and the time come in, a verdict goes out. Nothing here asks a KMS, holds a
 * key or sets a timer; src/disk/served-disk.ts does.
 *
 * Kept true: a revoked key ends the lease at once, unless the policy is `keep`. An unreachable KMS decides nothing: the
 * lease lives on for `graceMs` from the first failure, and only then ends. A lost lease is asked for again for ever.
 */

import { unreachable } from '../errors.js';

export type OnKeyLoss = 'hang' | 'fail' | 'keep';

export interface LeaseTerms {
  readonly onKeyLoss: OnKeyLoss;
  /** Time between two questions to the KMS. */
  readonly checkIntervalMs: number;
  /** How long an unreachable KMS is borne; Infinity for ever. */
  readonly graceMs: number;
}

/** `held`: the key is in memory. `kept`: it is, though revoked. `lost`: it is wiped. */
export type Lease =
  | { readonly kind: 'held'; readonly silence?: Silence }
  | { readonly kind: 'kept'; readonly silence?: Silence }
  | { readonly kind: 'lost'; readonly silence?: Silence };

/** A KMS that does not answer: since when, and how many times it was asked since. */
export interface Silence {
  readonly sinceMs: number;
  readonly tries: number;
}

/** What became of a question. `restored`: the key was unwrapped again and is in memory. */
export type KmsAnswer = 'enabled' | 'revoked' | 'unreachable' | 'wrong' | 'restored';

/** `warn` is a loss that the policy `keep` bears. */
export type LeaseAct = 'none' | 'lose' | 'restore' | 'warn';

export interface LeaseVerdict {
  readonly next: Lease;
  readonly act: LeaseAct;
  /** When to ask again. */
  readonly wakeAtMs: number;
}

/** The longest pause between two tries of an unreachable KMS. */
export const LONGEST_RETRY_MS = 30_000;

/** The part of the interval that jitter may take away from a check. What is left is never more than the interval. */
const CHECK_JITTER = 0.1;

/**
 * The verdict on one answer. `jitter` in [0, 1) spreads the questions of many machines; `nowMs` is monotonic and is the
 * time the question was asked, so that a slow answer does not stretch the interval.
 */
export function decide(
  lease: Lease,
  answer: KmsAnswer,
  terms: LeaseTerms,
  nowMs: number,
  jitter: number,
): LeaseVerdict {
  const wakeAtMs = nowMs + terms.checkIntervalMs * (1 - CHECK_JITTER * jitter);
  switch (answer) {
    case 'restored':
      return { next: { kind: 'held' }, act: 'none', wakeAtMs };
    case 'enabled':
      // What was silent stays counted until the key is there: a KMS may describe a key that it does not unwrap.
      return lease.kind === 'lost'
        ? { next: lease, act: 'restore', wakeAtMs }
        : { next: { kind: 'held' }, act: 'none', wakeAtMs };
    case 'revoked':
    case 'wrong':
      return revoke(lease, terms, wakeAtMs);
    case 'unreachable':
      return bear(lease, terms, nowMs, jitter);
    default:
      return unreachable(answer);
  }
}

function revoke(lease: Lease, terms: LeaseTerms, wakeAtMs: number): LeaseVerdict {
  if (lease.kind === 'lost') return { next: { kind: 'lost' }, act: 'none', wakeAtMs };
  if (terms.onKeyLoss === 'keep') {
    return { next: { kind: 'kept' }, act: lease.kind === 'kept' ? 'none' : 'warn', wakeAtMs };
  }
  return { next: { kind: 'lost' }, act: 'lose', wakeAtMs };
}

function bear(lease: Lease, terms: LeaseTerms, nowMs: number, jitter: number): LeaseVerdict {
  const silence: Silence = {
    sinceMs: lease.silence?.sinceMs ?? nowMs,
    tries: (lease.silence?.tries ?? 0) + 1,
  };
  const graceEndsMs = silence.sinceMs + terms.graceMs;
  if (lease.kind === 'held' && nowMs >= graceEndsMs) {
    const { next, act } = revoke(lease, terms, nowMs);
    return { next: { ...next, silence }, act, wakeAtMs: retryAtMs(silence, terms, nowMs, jitter) };
  }
  const retry = retryAtMs(silence, terms, nowMs, jitter);
  const wakeAtMs = lease.kind === 'held' ? Math.min(retry, graceEndsMs) : retry;
  return { next: { kind: lease.kind, silence }, act: 'none', wakeAtMs };
}

/** Doubles from a quarter of the interval up to LONGEST_RETRY_MS; jitter takes away up to half. */
function retryAtMs(silence: Silence, terms: LeaseTerms, nowMs: number, jitter: number): number {
  const full = Math.min((terms.checkIntervalMs / 4) * 2 ** Math.min(silence.tries - 1, 20), LONGEST_RETRY_MS);
  return nowMs + Math.max(1, full * (1 - jitter / 2));
}

/** The answer that a failed call to a provider stands for. */
export function answerOfGroup(group: string): 'revoked' | 'unreachable' | 'wrong' {
  return group === 'revoked' || group === 'wrong' ? group : 'unreachable';
}
