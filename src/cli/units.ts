/** Sizes and durations as a user types and reads them. */

import { fail } from '../errors.js';

const POWERS: Readonly<Record<string, bigint>> = { '': 0n, K: 1n, M: 2n, G: 3n, T: 4n, P: 5n };
const MS_PER_UNIT: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
/** The longest duration: what a timer of Node can wait. */
const DURATION_MAX_MS = 2 ** 31 - 1;

/**
 * Bytes of "64M": powers of 1024 with K, M, G, T or P, as qemu-img takes them ("MiB" too, and "MB" as powers of 1000,
 * as cryptsetup). SIZE_SYNTAX for zero and for anything else.
 */
export function parseSize(text: string): bigint {
  const match = /^(\d{1,18})(?:\.(\d{1,3}))?([KMGTP]?)(i?B)?$/i.exec(text.trim());
  const unit = (match?.[3] ?? '').toUpperCase();
  const power = POWERS[unit];
  if (!match || power === undefined || (unit === '' && (match[2] || match[4]?.toLowerCase() === 'ib'))) {
    fail('SIZE_SYNTAX', { found: text });
  }
  const base = unit !== '' && match[4]?.toLowerCase() === 'b' ? 1000n : 1024n;
  const fraction = (match[2] ?? '').padEnd(3, '0');
  const bytes = (BigInt(`${match[1]}${fraction}`) * base ** power) / 1000n;
  if (bytes <= 0n || bytes > 2n ** 62n) fail('SIZE_SYNTAX', { found: text });
  return bytes;
}

/** Milliseconds of "5s", "2m", "1h"; a bare number is refused. DURATION_SYNTAX. */
export function parseDuration(text: string): number {
  const match = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)$/.exec(text.trim());
  const ms = match ? Math.round(Number(match[1]) * (MS_PER_UNIT[match[2] ?? ''] ?? 0)) : 0;
  if (ms < 1 || ms > DURATION_MAX_MS) fail('DURATION_SYNTAX', { found: text });
  return ms;
}

/** As parseDuration, and "forever" as null. */
export const parseDurationOrForever = (text: string): number | null =>
  text === 'forever' ? null : parseDuration(text);

/** "64 MiB", "1.5 GiB", "512 B". */
export function formatSize(bytes: bigint): string {
  let power = 0;
  while (power < 5 && bytes >= 1024n ** BigInt(power + 1)) power += 1;
  const unit = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'][power];
  const tenths = (bytes * 10n) / 1024n ** BigInt(power);
  return `${tenths % 10n === 0n ? tenths / 10n : `${tenths / 10n}.${tenths % 10n}`} ${unit}`;
}
