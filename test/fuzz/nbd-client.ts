/**
 * Clients of a whole server, drawn from a seed: a handshake that is right, nearly right or garbage, and behind it, in the
 * same stream, requests of the mode that it asked for; then bytes are changed, and the stream is cut.
 *
 * Nothing waits for an answer, so that the same seed sends the same bytes whatever the server says. Numbers of proto.md.
 */

import { be, clientFlags, goData, metaData, option } from '../nbd/wire.js';
import type { Random } from './random.js';

export interface FuzzedClient {
  /** What it sends, one write after the other; then it closes its end. */
  readonly pieces: readonly Buffer[];
  /** It vanishes when it has heard so many bytes; undefined: it reads to the end. */
  readonly hearsBytes: number | undefined;
}

/** The export that is fuzzed. */
export const FUZZED = 'fuzzed';

const EXPORT_NAME = 1;
const GO = 7;
const STRUCTURED_REPLY = 8;
const SET_META_CONTEXT = 10;
const EXTENDED_HEADERS = 11;
const WRITE = 1;
const DISCONNECT = 2;
const BLOCK_STATUS = 7;
const PAYLOAD_LENGTH = 1 << 5;

type Mode = 'simple' | 'structured' | 'extended';

const noise = (random: Random, maxBytes: number): Buffer =>
  Buffer.from(Array.from({ length: random.below(maxBytes + 1) }, () => random.below(256)));

function options(random: Random, mode: Mode): Buffer[] {
  const asked: Buffer[] = [];
  if (mode === 'structured') asked.push(option(STRUCTURED_REPLY));
  if (mode === 'extended') asked.push(option(EXTENDED_HEADERS));
  if (random.chance(0.5)) {
    const names = ['base:allocation', 'sealdisk:key-state', 'base:', 'x:y'].filter(() => random.chance(0.6));
    asked.push(option(SET_META_CONTEXT, metaData(FUZZED, names)));
  }
  if (random.chance(0.2)) asked.push(option(random.below(14), noise(random, 60)));
  if (random.chance(0.1)) asked.push(noise(random, 40));
  const infoTypes = Array.from({ length: random.below(3) }, () => random.below(5));
  const name = random.pick([FUZZED, FUZZED, FUZZED, FUZZED, '', 'nobody']);
  asked.push(random.chance(0.85) ? option(GO, goData(name, infoTypes)) : option(EXPORT_NAME, name));
  return asked;
}

/** Mostly within a disk of `sizeBytes`, sometimes over its end, sometimes absurd. */
function range(random: Random, sizeBytes: number): { offset: bigint; length: number } {
  const length = random.pick([0, 1, 512, 4096, random.below(10_000), random.below(200_000)]);
  if (random.chance(0.05)) return { offset: BigInt(random.next()) << 32n, length };
  if (random.chance(0.05)) return { offset: BigInt(random.below(sizeBytes)), length: random.next() };
  return { offset: BigInt(random.below(sizeBytes)), length };
}

function header(mode: Mode, flags: number, command: number, offset: bigint, length: number): Buffer {
  const extended = mode === 'extended';
  const cookie = be(64, (BigInt(flags) << 48n) | (BigInt(command) << 32n) | (offset % 65_536n));
  const magic = be(32, extended ? 0x21e41c71 : 0x25609513);
  return Buffer.concat([
    magic,
    be(16, flags),
    be(16, command),
    cookie,
    be(64, offset),
    be(extended ? 64 : 32, length),
  ]);
}

function payloadOf(random: Random, mode: Mode, command: number, length: number): Buffer | undefined {
  if (command === WRITE && length < 1 << 20) return Buffer.alloc(length, random.below(256));
  if (command !== BLOCK_STATUS || mode !== 'extended' || random.chance(0.6)) return undefined;
  const ids = Array.from({ length: random.below(3) }, () => be(32, random.below(3)));
  return Buffer.concat([be(64, length), ...ids]);
}

function request(random: Random, mode: Mode, sizeBytes: number): Buffer {
  const command = random.pick([0, 0, 1, 1, 1, 3, 4, 5, 6, 7, 7, random.below(12)]);
  const { offset, length } = range(random, sizeBytes);
  const payload = payloadOf(random, mode, command, length);
  const any = random.chance(0.4) ? 1 << random.below(6) : 0;
  const flags = any | (mode === 'extended' && payload ? PAYLOAD_LENGTH : 0);
  if (!payload) return header(mode, flags, command, offset, length);
  return Buffer.concat([header(mode, flags, command, offset, payload.length), payload]);
}

function damage(random: Random, whole: Buffer): Buffer {
  for (let flips = random.chance(0.25) ? 1 + random.below(3) : 0; flips > 0 && whole.length > 0; flips -= 1) {
    // Half of them early, where the handshake and the first headers are.
    const within = random.chance(0.5) ? Math.min(whole.length, 300) : whole.length;
    whole[random.below(within)] = random.below(256);
  }
  return random.chance(0.3) ? whole.subarray(0, random.below(whole.length + 1)) : whole;
}

const PIECES_MAX = 200;

function cut(random: Random, whole: Buffer): Buffer[] {
  const pieces: Buffer[] = [];
  const most = random.pick([1 + random.below(40), 4096, 1 << 20]);
  for (let at = 0; at < whole.length; ) {
    const end = pieces.length === PIECES_MAX - 1 ? whole.length : at + 1 + random.below(most);
    pieces.push(whole.subarray(at, end));
    at = end;
  }
  return pieces;
}

export function fuzzedClient(random: Random, sizeBytes: number): FuzzedClient {
  const mode = random.pick<Mode>(['simple', 'structured', 'structured', 'extended', 'extended']);
  const stream = random.chance(0.1)
    ? [noise(random, 200)]
    : [clientFlags(random.chance(0.05) ? random.next() : 3), ...options(random, mode)];
  for (let left = random.below(13); left > 0; left -= 1) stream.push(request(random, mode, sizeBytes));
  if (random.chance(0.3)) stream.push(header(mode, 0, DISCONNECT, 0n, 0));
  const pieces = cut(random, damage(random, Buffer.concat(stream)));
  return { pieces, hearsBytes: random.chance(0.3) ? random.below(20_000) : undefined };
}
