/** Throw-away pools for the tests of the KMS room. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A new empty folder, removed when `t` ends. */
export async function tempPool(t: { teardown(end: () => Promise<void>): void }): Promise<string> {
  const pool = await mkdtemp(join(tmpdir(), 'sealdisk-kms-'));
  t.teardown(() => rm(pool, { recursive: true, force: true }));
  return pool;
}

/** Asks until `condition` holds. Fails after `timeoutMs`. */
export async function until(what: string, condition: () => boolean, timeoutMs = 60_000): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() > endMs) throw new Error(`${what}: not within ${timeoutMs} ms`);
    await new Promise((again) => setTimeout(again, 2));
  }
}

/** Random numbers in [0, 1) that the printed seed replays (SEED=n). */
export function seeded(t: { comment(text: string): void }): () => number {
  let state = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31)) >>> 0;
  t.comment(`SEED=${state}`);
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
