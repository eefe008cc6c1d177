/**
 * How many calls an access key may make: a token bucket for each, filled by time. Pure but for what it remembers; time
 * comes in.
 */

interface Bucket {
  tokens: number;
  atMs: number;
}

/** A bucket that is full again says nothing: it is forgotten when so many are remembered. */
const REMEMBERED = 1024;

export class Rates {
  readonly #buckets = new Map<string, Bucket>();

  /** `perSecond` calls a second, and as many at once after a second without any. */
  constructor(private readonly perSecond: number) {}

  /** How many are remembered. */
  get size(): number {
    return this.#buckets.size;
  }

  /** Whether `who` may call now; if so, the call is counted. */
  take(who: string, nowMs: number): boolean {
    const bucket = this.#buckets.get(who) ?? { tokens: this.perSecond, atMs: nowMs };
    this.#buckets.set(who, bucket);
    const gained = (Math.max(0, nowMs - bucket.atMs) * this.perSecond) / 1000;
    bucket.tokens = Math.min(this.perSecond, bucket.tokens + gained);
    bucket.atMs = nowMs;
    if (this.#buckets.size > REMEMBERED) this.#forgetFull(nowMs);
    if (bucket.tokens < 1) return false;
    bucket.tokens -= 1;
    return true;
  }

  #forgetFull(nowMs: number): void {
    for (const [who, { atMs }] of this.#buckets) if (nowMs - atMs > 1000) this.#buckets.delete(who);
  }
}
