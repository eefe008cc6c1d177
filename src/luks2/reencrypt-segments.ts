/**
 * The segments of a header while a payload is converted, in the order of the virtual device that they make up.
 *
 * Encryption goes from the end to the beginning and moves everything up by `shiftBytes` (the header's room): what lay at
 * payload byte x lies at x + shift then. What was in the header's place waits behind the end until it is last. Another
 * data key goes from the beginning to the end, each byte staying where it is. Pure. Source: as conversion.ts.
 */

import type { Segment } from './header.js';
import type { JsonObject } from './json.js';

export interface Layout {
  readonly kind: 'encrypt' | 'rekey';
  /** Of the payload, whole sectors. */
  readonly payloadBytes: bigint;
  /** Encryption: below it all is plain. Another key: below it all is under the new one. */
  readonly boundaryBytes: bigint;
  /** Another key: so many bytes from the boundary on may be under either; the journal has them as they were. */
  readonly hotBytes: bigint;
  /** Encryption: how far the payload moves up. Another key: 0. */
  readonly shiftBytes: bigint;
}

/** A segment, and the key whose digest names it. */
export interface OwnedSegment {
  readonly owner: 'new' | 'old' | 'none';
  readonly json: JsonObject;
}

/** Where the first bytes of a plain payload wait, in the file. */
export const movedOffsetBytes = ({ payloadBytes, shiftBytes }: Layout): bigint => payloadBytes + shiftBytes;

export const movedBytes = ({ payloadBytes, shiftBytes }: Layout): bigint =>
  payloadBytes < shiftBytes ? payloadBytes : shiftBytes;

export function activeSegments(layout: Layout, final: Segment): OwnedSegment[] {
  return layout.kind === 'encrypt' ? encryptSegments(layout, final) : rekeySegments(layout, final);
}

function encryptSegments(layout: Layout, final: Segment): OwnedSegment[] {
  const { boundaryBytes, payloadBytes, shiftBytes } = layout;
  const segments = [linear(movedOffsetBytes(layout), movedBytes(layout))];
  if (boundaryBytes > shiftBytes) segments.push(linear(shiftBytes, boundaryBytes - shiftBytes));
  if (boundaryBytes < payloadBytes)
    segments.push(crypt('new', final, boundaryBytes, payloadBytes - boundaryBytes));
  return segments;
}

function rekeySegments({ boundaryBytes, hotBytes, payloadBytes }: Layout, final: Segment): OwnedSegment[] {
  const segments: OwnedSegment[] = [];
  if (boundaryBytes > 0n) segments.push(crypt('new', final, 0n, boundaryBytes));
  if (hotBytes > 0n) segments.push(crypt('new', final, boundaryBytes, hotBytes, 'in-reencryption'));
  const old = boundaryBytes + hotBytes;
  if (old < payloadBytes) segments.push(crypt('old', final, old, undefined));
  return segments;
}

/** What it was, what it is to be, and what was moved out of the header's way. */
export function backupSegments(layout: Layout, final: Segment): OwnedSegment[] {
  const whole = crypt('new', final, 0n, undefined, 'backup-final');
  if (layout.kind === 'rekey') return [crypt('old', final, 0n, undefined, 'backup-previous'), whole];
  return [
    linear(movedOffsetBytes(layout), movedBytes(layout), 'backup-moved-segment'),
    linear(0n, layout.payloadBytes, 'backup-previous'),
    whole,
  ];
}

function linear(offset: bigint, size: bigint, flag?: string): OwnedSegment {
  const json = { type: 'linear', offset: `${offset}`, size: `${size}`, ...flags(flag) };
  return { owner: 'none', json };
}

/** From `at` in the payload on; to the end of the file without a `size`. */
function crypt(owner: 'new' | 'old', final: Segment, at: bigint, size?: bigint, flag?: string): OwnedSegment {
  const json = {
    ...final,
    offset: `${BigInt(final.offset) + at}`,
    size: size === undefined ? 'dynamic' : `${size}`,
    iv_tweak: `${at / 512n}`,
    ...flags(flag),
  };
  return { owner, json };
}

const flags = (flag: string | undefined): JsonObject => (flag === undefined ? {} : { flags: [flag] });

/** How cryptsetup writes keyslot and backup segments one after the other to digest them; text as it is, numbers big-endian. */
export function serializedForProof(keyslot: JsonObject, backups: readonly OwnedSegment[]): Buffer {
  const { mode, direction } = keyslot;
  const area = keyslot.area as JsonObject;
  const by = (flag: string) =>
    backups.find(({ json }) => (json.flags as string[] | undefined)?.[0] === flag)?.json;
  const parts = [text(mode), text(direction), text(area.type), u64(area.offset), u64(area.size)];
  if (area.shift_size !== undefined) parts.push(u64(area.shift_size));
  for (const flag of ['backup-previous', 'backup-final', 'backup-moved-segment']) {
    const segment = by(flag);
    if (segment) parts.push(serializedSegment(segment));
  }
  return Buffer.concat(parts);
}

function serializedSegment(segment: JsonObject): Buffer {
  const { type, offset, size, iv_tweak: tweak, encryption, sector_size: sectorSize } = segment;
  const parts = [text(type), u64(offset), size === 'dynamic' ? text(size) : u64(size)];
  if (type === 'crypt') {
    const sector = Buffer.alloc(4);
    sector.writeUInt32BE(sectorSize as number);
    parts.push(u64(tweak), text(encryption), sector);
  }
  return Buffer.concat(parts);
}

const text = (value: unknown): Buffer => Buffer.from(value as string, 'utf8');

function u64(value: unknown): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value as string));
  return bytes;
}
