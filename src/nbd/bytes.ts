/**
 * Big-endian numbers and strings as the wire has them, over plain Uint8Array: no runtime's own types.
 *
 * Writers return fresh arrays, `concat` joins them. Reading never goes past the end: callers hold the whole record
 * before they read a field of it, and a string is undefined when it is not one by proto.md ("Conventions").
 */

import { STRING_MAX_BYTES } from './limits.js';

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function written(sizeBytes: number, write: (view: DataView) => void): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  write(new DataView(bytes.buffer));
  return bytes;
}

export const u16 = (value: number): Uint8Array => written(2, (view) => view.setUint16(0, value));
export const u32 = (value: number): Uint8Array => written(4, (view) => view.setUint32(0, value));
export const u64 = (value: bigint): Uint8Array => written(8, (view) => view.setBigUint64(0, value));
export const text = (value: string): Uint8Array => encoder.encode(value);

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export const readU16 = (bytes: Uint8Array, at: number): number => viewOf(bytes).getUint16(at);
export const readU32 = (bytes: Uint8Array, at: number): number => viewOf(bytes).getUint32(at);
export const readU64 = (bytes: Uint8Array, at: number): bigint => viewOf(bytes).getBigUint64(at);

/** The string, or undefined where it is too long, has a NUL, or is not UTF-8. */
export function readText(bytes: Uint8Array): string | undefined {
  if (bytes.length > STRING_MAX_BYTES || bytes.includes(0)) return undefined;
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}

/** A peer's string as a message may show it: quoted, control characters escaped, of bounded length. */
export function shown(value: string): string {
  return JSON.stringify(value.length > 64 ? `${value.slice(0, 64)}…` : value);
}
