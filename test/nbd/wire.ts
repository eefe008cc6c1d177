/**
 * A client's side of the handshake for tests: writes options, reads replies, with Buffer and numbers of its own, so that
 * a mistake in src/nbd/bytes.ts or constants.ts cannot cancel itself out.
 */

import { type Abilities, BASELINE, type Export } from '#sealdisk/nbd/exports.js';
import { begin, type Handshake, type Step, step, type Verdict } from '#sealdisk/nbd/handshake.js';

export const disk: Export = {
  name: 'disk',
  description: 'a disk',
  sizeBytes: 0x1_2345_6000n,
  transmissionFlags: 0x0b6d, // HAS_FLAGS FLUSH FUA TRIM WRITE_ZEROES MULTI_CONN FAST_ZERO
  minimumBlockSize: 1,
  preferredBlockSize: 4096,
  maximumBlockSize: 32 << 20,
  contexts: ['base:allocation', 'sealdisk:key-state'],
};
export const readOnlyDisk: Export = {
  ...disk,
  name: 'çopy',
  description: '',
  transmissionFlags: 0x010f,
};

export function be(bits: 16 | 32 | 64, value: number | bigint): Buffer {
  const bytes = Buffer.alloc(bits / 8);
  if (bits === 16) bytes.writeUInt16BE(Number(value));
  else if (bits === 32) bytes.writeUInt32BE(Number(value));
  else bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

export const clientFlags = (flags: number): Buffer => be(32, flags);

export const optionHeader = (option: number, lengthBytes: number): Buffer =>
  Buffer.concat([Buffer.from('IHAVEOPT'), be(32, option), be(32, lengthBytes)]);

export const option = (number: number, data: Uint8Array | string = ''): Buffer =>
  Buffer.concat([optionHeader(number, Buffer.from(data).length), Buffer.from(data)]);

export const goData = (name: string, infoTypes: number[] = []): Buffer =>
  Buffer.concat([
    be(32, Buffer.byteLength(name)),
    Buffer.from(name),
    be(16, infoTypes.length),
    ...infoTypes.map((type) => be(16, type)),
  ]);

export const metaData = (name: string, queries: readonly string[]): Buffer =>
  Buffer.concat([
    be(32, Buffer.byteLength(name)),
    Buffer.from(name),
    be(32, queries.length),
    ...queries.flatMap((query) => [be(32, Buffer.byteLength(query)), Buffer.from(query)]),
  ]);

export interface Reply {
  option: number;
  type: number;
  data: Buffer;
}

/** All replies of `bytes`; throws where they are not whole. */
export function repliesOf(bytes: Uint8Array): Reply[] {
  const all = Buffer.from(bytes);
  const replies: Reply[] = [];
  for (let at = 0; at < all.length; ) {
    if (all.readBigUInt64BE(at) !== 0x3e889045565a9n) throw new Error(`no reply magic at ${at}`);
    const lengthBytes = all.readUInt32BE(at + 16);
    if (at + 20 + lengthBytes > all.length) throw new Error(`reply at ${at} is cut`);
    replies.push({
      option: all.readUInt32BE(at + 8),
      type: all.readUInt32BE(at + 12),
      data: all.subarray(at + 20, at + 20 + lengthBytes),
    });
    at += 20 + lengthBytes;
  }
  return replies;
}

export interface Played {
  state: Handshake;
  /** Everything the server said after its greeting. */
  output: Buffer;
  verdict: Verdict;
}

/** Feeds `inputs` one after the other; what comes after an end is not fed. */
export function play(
  inputs: readonly Uint8Array[],
  exports: readonly Export[] = [disk, readOnlyDisk],
  { optionsMax = 256, ...abilities }: Partial<Abilities & { optionsMax: number }> = {},
): Played {
  let last: Step = begin(exports, { optionsMax }, { ...BASELINE, ...abilities });
  const output: Uint8Array[] = [];
  for (const input of inputs) {
    if (last.verdict.kind !== 'more') break;
    last = step(last.next, input);
    output.push(...last.output);
  }
  return { state: last.next, output: Buffer.concat(output), verdict: last.verdict };
}

/** `play` of a client that speaks fixed newstyle, with a server that speaks all that there is but TLS. */
export const haggle = (
  inputs: readonly Uint8Array[],
  abilities: Partial<Abilities> = { replies: 'extended' },
  exports?: readonly Export[],
): Played => play([clientFlags(3), ...inputs], exports, abilities);

/** Replies to one option of a client that speaks fixed newstyle. */
export const ask = (number: number, data: Uint8Array | string = '', exports?: Export[]): Reply[] =>
  repliesOf(play([clientFlags(3), option(number, data)], exports).output);
