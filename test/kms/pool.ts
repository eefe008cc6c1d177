/** Throw-away pools for the tests of the KMS room. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KeyRecord } from '#sealdisk/kms/local/record.js';

/** A new empty folder, removed when `t` ends. */
export async function tempPool(t: { teardown(end: () => Promise<void>): void }): Promise<string> {
  const pool = await mkdtemp(join(tmpdir(), 'sealdisk-kms-'));
  t.teardown(() => rm(pool, { recursive: true, force: true }));
  return pool;
}

/** A record of a symmetric key, made here and enabled, but for `facts`. It opens nothing: its box is none. */
export const recordOf = (facts: Partial<KeyRecord>): KeyRecord => ({
  format: 1,
  keyId: '80c72a39-acbb-41bc-84bf-876a7f74fc21',
  generation: 1,
  spec: 'AES_256',
  origin: 'kms',
  serviceKey: false,
  description: '',
  createdAt: '',
  state: 'enabled',
  deletionDate: null,
  deletionProtection: false,
  primaryVersion: 1,
  versions: [{ version: 1, createdAt: '', material: 'AAAA' }],
  aliases: [],
  tags: {},
  rotation: null,
  materialExpiresAt: null,
  materialMark: null,
  ...facts,
});

/** Moves the clock of this process on, until `t` ends. */
export function later(t: { teardown(end: () => void): void }, byMs: number): void {
  const { now } = Date;
  Date.now = () => now() + byMs;
  t.teardown(() => {
    Date.now = now;
  });
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
