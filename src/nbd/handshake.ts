/**
 * The fixed newstyle handshake of the server's side as a state machine: bytes in, bytes out, no socket and no clock.
 *
 *   phase    waits for                       exits
 *   flags    client flags                    header | over (a flag that is not known)
 *   header   the 16 bytes before an option   data | skip | over (no option, too many, too long, not fixed newstyle)
 *   data     the option's data, whole        header | tls | over (transmit, abort, a name that does not exist)
 *   skip     data that nobody will look at   header | over (abort)
 *   tls      `enterTls`, no bytes            header | over (bytes behind NBD_OPT_STARTTLS)
 *   over     nothing; a step is our mistake
 *
 * Input may be cut anywhere: the result is the same. One cut counts: bytes that come together with NBD_OPT_STARTTLS are no
 * TLS, since the client must await the reply, and end the session; those that come later are for the TLS peer to judge.
 * A state holds at most OPTION_KEPT_MAX_BYTES of input. States are values: `step` changes none. Source: proto.md,
 * "Newstyle negotiation" to "Termination of the session", "TLS support".
 */

import { fail, unreachable } from '../errors.js';
import { concat, readU32, readU64, u16, u64 } from './bytes.js';
import {
  NBD_FLAG_C_FIXED_NEWSTYLE,
  NBD_FLAG_C_NO_ZEROES,
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_NO_ZEROES,
  NBD_MAGIC,
  NBD_OPT_EXPORT_NAME,
  NBD_OPTION_MAGIC,
} from './constants.js';
import { type Abilities, BASELINE, checkExports, type Export, type Negotiated } from './exports.js';
import { type Limits, OPTION_HEADER_BYTES, OPTION_SKIPPED_MAX_BYTES } from './limits.js';
import type { Answer, NbdFault } from './options/option.js';
import { optionOf } from './options/table.js';
import { newSession, type Session } from './session.js';

interface Haggling {
  readonly session: Session;
  readonly optionsSeen: number;
  readonly optionsMax: number;
}

export type Handshake =
  | { readonly phase: 'flags'; readonly held: Uint8Array; readonly haggling: Haggling }
  | { readonly phase: 'header'; readonly held: Uint8Array; readonly haggling: Haggling }
  | {
      readonly phase: 'data';
      readonly held: Uint8Array;
      readonly haggling: Haggling;
      readonly option: number;
      readonly lengthBytes: number;
    }
  | {
      readonly phase: 'skip';
      readonly haggling: Haggling;
      readonly option: number;
      readonly leftBytes: number;
    }
  | { readonly phase: 'tls'; readonly haggling: Haggling }
  | { readonly phase: 'over' };

export type Verdict =
  | { readonly kind: 'more' }
  /** Transmission begins once `output` is sent; `rest` is its first input. */
  | { readonly kind: 'transmit'; readonly negotiated: Negotiated; readonly rest: Uint8Array }
  /** TLS begins once `output` is sent; `enterTls` when it stands, then steps with what comes out of it. */
  | { readonly kind: 'tls' }
  /** Send `output`, then close. No fault: the peer said NBD_OPT_ABORT, or the server closes. */
  | { readonly kind: 'close'; readonly fault: NbdFault | undefined };

export interface Step {
  readonly next: Handshake;
  readonly output: readonly Uint8Array[];
  readonly verdict: Verdict;
}

/** One transition. `rest` is the input that it left; undefined when it waits for more. */
interface Move {
  readonly next: Handshake;
  readonly output: readonly Uint8Array[];
  readonly verdict: Verdict;
  readonly rest: Uint8Array | undefined;
}

const NOTHING = new Uint8Array(0);
const CLIENT_FLAGS_BYTES = 4;
const KNOWN_CLIENT_FLAGS = NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES;
const MORE: Verdict = { kind: 'more' };
const OVER: Handshake = { phase: 'over' };

/** A handshake over these exports, and the greeting that the server says first. */
export function begin(
  exports: readonly Export[],
  limits: Pick<Limits, 'optionsMax'>,
  abilities: Abilities = BASELINE,
): Step {
  const greeting = concat(
    u64(NBD_MAGIC),
    u64(NBD_OPTION_MAGIC),
    u16(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES),
  );
  const session = newSession(checkExports(exports), abilities);
  const haggling = { session, optionsSeen: 0, optionsMax: limits.optionsMax };
  return { next: { phase: 'flags', held: NOTHING, haggling }, output: [greeting], verdict: MORE };
}

/** The handshake inside TLS, which has proved that the client is `clientName`. */
export function enterTls(state: Handshake, clientName: string | undefined): Handshake {
  if (state.phase !== 'tls') return fail('INTERNAL', { what: `TLS in NBD handshake phase ${state.phase}` });
  const { haggling } = state;
  return {
    phase: 'header',
    held: NOTHING,
    haggling: { ...haggling, session: { ...haggling.session, clientName } },
  };
}

/** The handshake when the server is about to close: every option from now on hears NBD_REP_ERR_SHUTDOWN. */
export function shutDown(state: Handshake): Handshake {
  if (state.phase === 'over') return state;
  const { haggling } = state;
  return { ...state, haggling: { ...haggling, session: { ...haggling.session, closing: true } } };
}

/** The handshake after `input`. */
export function step(state: Handshake, input: Uint8Array): Step {
  const output: Uint8Array[] = [];
  let move = advance(state, input);
  output.push(...move.output);
  while (move.rest !== undefined) {
    move = advance(move.next, move.rest);
    output.push(...move.output);
  }
  return { next: move.next, output, verdict: move.verdict };
}

/** What the end of the peer's bytes means here: no fault between two options, else the record that was cut. */
export function faultOfEnd(state: Handshake): NbdFault | undefined {
  const cut = (found: number, expected: number): NbdFault => ({
    what: `input at its end (${state.phase})`,
    found: `${found} bytes`,
    expected: `${expected} bytes`,
  });
  switch (state.phase) {
    case 'flags':
      return cut(state.held.length, CLIENT_FLAGS_BYTES);
    case 'header':
      return state.held.length === 0 ? undefined : cut(state.held.length, OPTION_HEADER_BYTES);
    case 'data':
      return cut(state.held.length, state.lengthBytes);
    case 'skip':
      return cut(0, state.leftBytes);
    case 'tls':
      return { what: 'input at its end (tls)', found: 'no TLS handshake', expected: 'a TLS handshake' };
    case 'over':
      return undefined;
    default:
      return unreachable(state);
  }
}

function advance(state: Handshake, input: Uint8Array): Move {
  switch (state.phase) {
    case 'flags':
      return filled(state, input, CLIENT_FLAGS_BYTES, (record) => onFlags(state.haggling, record));
    case 'header':
      return filled(state, input, OPTION_HEADER_BYTES, (record) => onHeader(state.haggling, record));
    case 'data':
      return filled(state, input, state.lengthBytes, (record) =>
        onData(state.haggling, state.option, record),
      );
    case 'skip':
      return onSkip(state, input);
    case 'tls':
      return fail('INTERNAL', { what: 'a step of an NBD handshake before TLS stands' });
    case 'over':
      return fail('INTERNAL', { what: 'a step of an NBD handshake that is over' });
    default:
      return unreachable(state);
  }
}

/** Collects a record of `sizeBytes`, then does `then` with it; what is beyond is left for the next phase. */
function filled(
  state: Extract<Handshake, { readonly held: Uint8Array }>,
  input: Uint8Array,
  sizeBytes: number,
  then: (record: Uint8Array) => Omit<Move, 'rest'>,
): Move {
  const taken = sizeBytes - state.held.length;
  if (input.length < taken) {
    return {
      next: { ...state, held: concat(state.held, input) },
      output: [],
      verdict: MORE,
      rest: undefined,
    };
  }
  return after(then(concat(state.held, input.subarray(0, taken))), input.subarray(taken));
}

/** Hands what is left of the input to whom it belongs: the next phase, or the transmission. */
function after(done: Omit<Move, 'rest'>, rest: Uint8Array): Move {
  switch (done.verdict.kind) {
    case 'more':
      return { ...done, rest };
    case 'tls':
      return rest.length === 0
        ? { ...done, rest: undefined }
        : { ...closed(injected(rest)), rest: undefined };
    case 'transmit':
      return { ...done, verdict: { ...done.verdict, rest }, rest: undefined };
    case 'close':
      return { ...done, rest: undefined };
    default:
      return unreachable(done.verdict);
  }
}

/** Whoever sits in the middle can put bytes behind the option and have them taken for the client's (CVE-2021-3716). */
const injected = (rest: Uint8Array): NbdFault => ({
  what: 'input behind NBD_OPT_STARTTLS',
  found: `${rest.length} bytes`,
  expected: 'none before its reply',
});

function closed(fault: NbdFault): Omit<Move, 'rest'> {
  return { next: OVER, output: [], verdict: { kind: 'close', fault } };
}

function onFlags(haggling: Haggling, record: Uint8Array): Omit<Move, 'rest'> {
  const flags = readU32(record, 0);
  if ((flags & ~KNOWN_CLIENT_FLAGS) !== 0) {
    return closed({ what: 'client flags', found: flags, expected: `none but ${KNOWN_CLIENT_FLAGS}` });
  }
  const session: Session = {
    ...haggling.session,
    fixedNewstyle: (flags & NBD_FLAG_C_FIXED_NEWSTYLE) !== 0,
    noZeroes: (flags & NBD_FLAG_C_NO_ZEROES) !== 0,
  };
  return waiting({ ...haggling, session });
}

const waiting = (haggling: Haggling): Omit<Move, 'rest'> => ({
  next: { phase: 'header', held: NOTHING, haggling },
  output: [],
  verdict: MORE,
});

function onHeader(before: Haggling, record: Uint8Array): Omit<Move, 'rest'> {
  const option = readU32(record, 8);
  const lengthBytes = readU32(record, 12);
  const fault = faultOfHeader(before, readU64(record, 0), option, lengthBytes);
  if (fault) return closed(fault);
  const haggling = { ...before, optionsSeen: before.optionsSeen + 1 };
  const next: Handshake =
    lengthBytes <= optionOf(haggling.session, option).keptMaxBytes
      ? { phase: 'data', held: NOTHING, haggling, option, lengthBytes }
      : { phase: 'skip', haggling, option, leftBytes: lengthBytes };
  return { next, output: [], verdict: MORE };
}

/** What forbids to go on with the option at all, in the order in which it is looked at. */
function faultOfHeader(
  haggling: Haggling,
  magic: bigint,
  option: number,
  lengthBytes: number,
): NbdFault | undefined {
  if (magic !== NBD_OPTION_MAGIC) {
    return { what: 'option magic', found: `0x${magic.toString(16)}`, expected: 'IHAVEOPT' };
  }
  if (haggling.optionsSeen === haggling.optionsMax) {
    const { optionsSeen, optionsMax } = haggling;
    return { what: 'number of options', found: optionsSeen + 1, expected: `at most ${optionsMax}` };
  }
  if (!haggling.session.fixedNewstyle && option !== NBD_OPT_EXPORT_NAME) {
    return { what: 'option without fixed newstyle', found: option, expected: NBD_OPT_EXPORT_NAME };
  }
  const { name, keptMaxBytes, answerLonger } = optionOf(haggling.session, option);
  const longestBytes = answerLonger ? OPTION_SKIPPED_MAX_BYTES : keptMaxBytes;
  if (lengthBytes > longestBytes) {
    return { what: `data length of ${name}`, found: lengthBytes, expected: `at most ${longestBytes}` };
  }
  return undefined;
}

function onSkip(state: Extract<Handshake, { readonly phase: 'skip' }>, input: Uint8Array): Move {
  const { haggling, option, leftBytes } = state;
  if (input.length < leftBytes) {
    const next = { ...state, leftBytes: leftBytes - input.length };
    return { next, output: [], verdict: MORE, rest: undefined };
  }
  return after(onSkipped(haggling, option), input.subarray(leftBytes));
}

function onSkipped(haggling: Haggling, option: number): Omit<Move, 'rest'> {
  const { session } = haggling;
  const { name, answerLonger } = optionOf(session, option);
  if (!answerLonger) return fail('INTERNAL', { what: `data of ${name} was skipped, not refused` });
  return settle(haggling, answerLonger(session, option));
}

function onData(haggling: Haggling, option: number, data: Uint8Array): Omit<Move, 'rest'> {
  const { session } = haggling;
  return settle(haggling, optionOf(session, option).answer(session, option, data));
}

/** From an option's answer to the next state. */
function settle(haggling: Haggling, answer: Answer): Omit<Move, 'rest'> {
  const { output } = answer;
  switch (answer.kind) {
    case 'haggle':
      return { ...waiting({ ...haggling, session: answer.session }), output };
    case 'tls':
      return {
        next: { phase: 'tls', haggling: { ...haggling, session: answer.session } },
        output,
        verdict: { kind: 'tls' },
      };
    case 'transmit':
      return {
        next: OVER,
        output,
        verdict: { kind: 'transmit', negotiated: answer.negotiated, rest: NOTHING },
      };
    case 'close':
      return { next: OVER, output, verdict: { kind: 'close', fault: answer.fault } };
    default:
      return unreachable(answer);
  }
}
