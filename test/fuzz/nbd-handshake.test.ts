/**
 * Random conversations with the handshake: pieces of right options, with bytes changed, cut and shuffled.
 *
 * Whatever comes in, a step does not throw, holds a bounded state, answers in whole replies, and the result does not
 * depend on how the input was cut. `SEED=n` replays, `RUNS=n` sets the length; the seed is printed.
 */

import t from 'tap';
import { begin, type Handshake, step, type Verdict } from '#sealdisk/nbd/handshake.js';
import { OPTION_KEPT_MAX_BYTES } from '#sealdisk/nbd/limits.js';
import { be, clientFlags, disk, goData, option, readOnlyDisk, repliesOf } from '../nbd/wire.js';

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

function piece(next: Random): Buffer {
  const infoTypes = Array.from({ length: next(5) }, () => next(6));
  const name = pick(next, ['disk', '', 'çopy', 'nobody', 'x'.repeat(4096), 'x'.repeat(5000)]);
  switch (next(8)) {
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
    default:
      return noise(next, 40);
  }
}

function conversation(next: Random): Buffer {
  const flags = next(10) === 0 ? next(16) : pick(next, [0, 1, 3, 3, 3, 3]);
  const whole = Buffer.concat([clientFlags(flags), ...Array.from({ length: next(12) }, () => piece(next))]);
  for (let flips = pick(next, [0, 0, 0, 1, 3]); flips > 0; flips -= 1) {
    whole[next(whole.length)] = next(256);
  }
  return next(4) === 0 ? whole.subarray(0, next(whole.length + 1)) : whole;
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

/** Plays `input` in pieces of the length that `cut` says. */
function play(input: Buffer, cut: () => number): Result {
  let last = begin([disk, readOnlyDisk], { optionsMax: 8 });
  const output: Uint8Array[] = [];
  let at = 0;
  while (at < input.length && last.verdict.kind === 'more') {
    const end = Math.min(input.length, at + cut());
    last = step(last.next, input.subarray(at, end));
    output.push(...last.output);
    at = end;
    if (heldBytes(last.next) > OPTION_KEPT_MAX_BYTES) throw new Error(`holds ${heldBytes(last.next)} bytes`);
  }
  const { verdict } = last;
  const rest =
    verdict.kind === 'transmit' ? Buffer.concat([verdict.rest, input.subarray(at)]) : Buffer.alloc(0);
  return { output: Buffer.concat(output), phase: last.next.phase, verdict, rest };
}

/** The answer of EXPORT_NAME stands at the end, and is no reply: it is taken off. */
function haggled({ output, verdict }: Result): Buffer {
  if (verdict.kind !== 'transmit') return output;
  const ackAtEnd = Buffer.concat([be(64, 0x3e889045565a9n), be(32, 7), be(32, 1), be(32, 0)]);
  if (output.subarray(-20).equals(ackAtEnd)) return output;
  return output.subarray(0, output.length - 10 - (verdict.negotiated.noZeroes ? 0 : 124));
}

t.test(`random conversations, SEED=${seed} RUNS=${runs}`, async (t) => {
  const ends: Record<string, number> = { more: 0, transmit: 0, close: 0 };
  for (let one = 0; one < runs; one += 1) {
    const next = random(seed + one);
    const input = conversation(next);
    try {
      const whole = play(input, () => input.length);
      const cut = play(input, () => 1 + next(next(3) === 0 ? 600 : 12));
      repliesOf(haggled(whole));
      const bare = ({ verdict }: Result): unknown =>
        verdict.kind === 'transmit' ? { ...verdict, rest: undefined } : verdict;
      const same =
        whole.output.equals(cut.output) && whole.phase === cut.phase && whole.rest.equals(cut.rest);
      if (!same || !t.same(bare(cut), bare(whole), 'same verdict'))
        throw new Error('the cut changes the result');
      ends[whole.verdict.kind] = (ends[whole.verdict.kind] ?? 0) + 1;
    } catch (error) {
      t.fail(`SEED=${seed + one} RUNS=1: ${String(error)}`);
      break;
    }
  }
  for (const [kind, count] of Object.entries(ends)) t.ok(count > 0 || runs < 100, `${kind}: ${count}`);
});
