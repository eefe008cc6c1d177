/**
 * Random conversations with the handshake: pieces of right options, with bytes changed, cut and shuffled, in the clear and
 * inside TLS, with servers of all abilities.
 *
 * Whatever comes in, a step does not throw, holds a bounded state, answers in whole replies, agrees on nothing that was
 * not negotiated, and the result does not depend on how the input was cut; but where bytes come with NBD_OPT_STARTTLS it
 * may. `SEED=n` replays, `RUNS=n` sets the length; the seed is printed.
 */

import { isDeepStrictEqual } from 'node:util';
import t from 'tap';
import type { Abilities, Negotiated } from '#sealdisk/nbd/exports.js';
import { begin, enterTls, type Handshake, step, type Verdict } from '#sealdisk/nbd/handshake.js';
import { OPTION_KEPT_MAX_BYTES } from '#sealdisk/nbd/limits.js';
import { be, clientFlags, disk, goData, metaData, option, readOnlyDisk, repliesOf } from '../nbd/wire.js';

const seed = Number(process.env.SEED ?? Date.now() % 0x7fffffff);
const runs = Number(process.env.RUNS ?? 3000);

/** Mulberry32: small, seeded, good enough to choose with. */
function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}
type Random = ReturnType<typeof random>;

const pick = <T>(next: Random, choices: readonly T[]): T => choices[next(choices.length)] as T;
const noise = (next: Random, maxBytes: number): Buffer =>
  Buffer.from(Array.from({ length: next(maxBytes + 1) }, () => next(256)));

const queries = (next: Random): string[] =>
  Array.from({ length: next(4) }, () =>
    pick(next, ['base:', 'base:allocation', 'sealdisk:', 'sealdisk:key-state', 'qemu:x', 'x:', ':', 'base']),
  );

function piece(next: Random): Buffer {
  const infoTypes = Array.from({ length: next(5) }, () => next(6));
  const name = pick(next, ['disk', '', 'çopy', 'hers', 'nobody', 'x'.repeat(4096), 'x'.repeat(5000)]);
  switch (next(12)) {
    case 0:
      return option(pick(next, [6, 7]), goData(name, infoTypes));
    case 1:
      return option(6, goData(name, infoTypes));
    case 2:
      return option(3, noise(next, next(4) === 0 ? 20 : 0));
    case 3:
      return option(next(14), noise(next, 300));
    case 4:
      return option(6, Buffer.concat([be(32, next(30)), noise(next, 30)]));
    case 5:
      return option(next(3) === 0 ? 1 : 10, name);
    case 6:
      return option(10, Buffer.alloc(next(OPTION_KEPT_MAX_BYTES * 2)));
    case 7:
    case 8:
      return option(pick(next, [8, 8, 11]), next(9) === 0 ? 'x' : '');
    case 9:
    case 10:
      return option(
        pick(next, [9, 10, 10]),
        metaData(pick(next, ['disk', '', 'hers', 'çopy']), queries(next)),
      );
    default:
      return noise(next, 40);
  }
}

interface Conversation {
  readonly input: Buffer;
  /** Where the client waits for the reply to NBD_OPT_STARTTLS. */
  readonly seams: readonly number[];
  readonly abilities: Abilities;
}

function conversation(next: Random): Conversation {
  const flags = next(10) === 0 ? next(16) : pick(next, [0, 1, 3, 3, 3, 3]);
  const pieces = [clientFlags(flags)];
  const seams: number[] = [];
  for (let left = next(12); left > 0; left -= 1) {
    const startsTls = next(7) === 0;
    pieces.push(startsTls ? option(5) : piece(next));
    if (startsTls) seams.push(Buffer.concat(pieces).length);
  }
  const whole = Buffer.concat(pieces);
  for (let flips = pick(next, [0, 0, 0, 1, 3]); flips > 0; flips -= 1) {
    whole[next(whole.length)] = next(256);
  }
  const input = next(4) === 0 ? whole.subarray(0, next(whole.length + 1)) : whole;
  const replies = pick(next, ['simple', 'structured', 'extended', 'extended'] as const);
  return { input, seams, abilities: { replies, tls: pick(next, ['off', 'on', 'on', 'require'] as const) } };
}

function heldBytes(state: Handshake): number {
  return 'held' in state ? state.held.length : 0;
}

interface Result {
  output: Buffer;
  phase: Handshake['phase'];
  verdict: Verdict;
  /** Bytes of the input that belong to the transmission. */
  rest: Buffer;
}

const exports = [disk, readOnlyDisk, { ...disk, name: 'hers', clientNames: ['ada'] }];

/** Plays the conversation in pieces of the length that `cut` says, and no piece across a seam. */
function play({ input, seams, abilities }: Conversation, cut: () => number): Result {
  let last = begin(exports, { optionsMax: 8 }, abilities);
  const output: Uint8Array[] = [];
  let [at, inTls] = [0, false];
  while (at < input.length && (last.verdict.kind === 'more' || last.verdict.kind === 'tls')) {
    if (last.verdict.kind === 'tls') {
      if (inTls) throw new Error('TLS begins twice');
      inTls = true;
      last = { ...last, next: enterTls(last.next, 'ada') };
    }
    const end = Math.min(input.length, at + cut(), ...seams.filter((seam) => seam > at));
    last = step(last.next, input.subarray(at, end));
    output.push(...last.output);
    at = end;
    if (heldBytes(last.next) > OPTION_KEPT_MAX_BYTES) throw new Error(`holds ${heldBytes(last.next)} bytes`);
  }
  const { verdict } = last;
  if (verdict.kind === 'transmit') judge(verdict.negotiated, abilities, inTls);
  const rest =
    verdict.kind === 'transmit' ? Buffer.concat([verdict.rest, input.subarray(at)]) : Buffer.alloc(0);
  return { output: Buffer.concat(output), phase: last.next.phase, verdict, rest };
}

/** Throws where something was agreed on that cannot be. */
function judge(negotiated: Negotiated, { replies: most, tls }: Abilities, inTls: boolean): void {
  const { exportName, replies, contexts, transmissionFlags } = negotiated;
  const ranks = ['simple', 'structured', 'extended'];
  const wrong = {
    'more than the server speaks': ranks.indexOf(replies) > ranks.indexOf(most),
    'transmission in the clear': tls === 'require' && !inTls,
    "somebody else's export": exportName === 'hers' && !inTls,
    'contexts with simple replies': replies === 'simple' && contexts.size > 0,
    'an id of 0, or one twice':
      [...contexts.values()].includes(0) || new Set(contexts.values()).size !== contexts.size,
    'a wrong DF': ((transmissionFlags & (1 << 7)) !== 0) !== (replies !== 'simple'),
    'a wrong BLOCK_STATUS_PAYLOAD':
      ((transmissionFlags & (1 << 12)) !== 0) !== (replies === 'extended' && contexts.size > 0),
  };
  for (const [what, is] of Object.entries(wrong)) if (is) throw new Error(`agreed on ${what}`);
}

/** The answer of EXPORT_NAME stands at the end, and is no reply: it is taken off. */
function haggled({ output, verdict }: Result): Buffer {
  if (verdict.kind !== 'transmit') return output;
  const ackAtEnd = Buffer.concat([be(64, 0x3e889045565a9n), be(32, 7), be(32, 1), be(32, 0)]);
  if (output.subarray(-20).equals(ackAtEnd)) return output;
  return output.subarray(0, output.length - 10 - (verdict.negotiated.noZeroes ? 0 : 124));
}

/** Bytes came with NBD_OPT_STARTTLS: by a changed byte, since `play` feeds nothing across a seam. */
const isInjected = ({ verdict }: Result): boolean =>
  verdict.kind === 'close' && verdict.fault?.what === 'input behind NBD_OPT_STARTTLS';

t.test(`random conversations, SEED=${seed} RUNS=${runs}`, async (t) => {
  const ends: Record<string, number> = { more: 0, tls: 0, transmit: 0, close: 0 };
  let injected = 0;
  for (let one = 0; one < runs; one += 1) {
    const next = random(seed + one);
    const said = conversation(next);
    try {
      const whole = play(said, () => said.input.length);
      const cut = play(said, () => 1 + next(next(3) === 0 ? 600 : 12));
      repliesOf(haggled(whole));
      repliesOf(haggled(cut));
      if ([whole, cut].some(isInjected)) {
        injected += 1;
        continue;
      }
      const bare = ({ verdict }: Result): unknown =>
        verdict.kind === 'transmit' ? { ...verdict, rest: undefined } : verdict;
      const same =
        whole.output.equals(cut.output) && whole.phase === cut.phase && whole.rest.equals(cut.rest);
      if (!same || !isDeepStrictEqual(bare(cut), bare(whole))) throw new Error('the cut changes the result');
      ends[whole.verdict.kind] = (ends[whole.verdict.kind] ?? 0) + 1;
    } catch (error) {
      t.fail(`SEED=${seed + one} RUNS=1: ${String(error)}`);
      break;
    }
  }
  t.ok(injected < runs / 100 || runs < 1000, `bytes came with NBD_OPT_STARTTLS: ${injected}`);
  for (const [kind, count] of Object.entries(ends)) t.ok(count > 0 || runs < 1000, `${kind}: ${count}`);
});
