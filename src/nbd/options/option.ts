/**
 * The contract of an option: one file here and one row in table.ts make the handshake speak it.
 *
 * The handshake reads the data, keeps the limits and the order; an option only computes its answer from what was
 * agreed so far and the data, whole. It holds nothing between two calls.
 */

import { NBD_FLAG_READ_ONLY } from '../constants.js';
import type { Export, Negotiated } from '../exports.js';

/** A peer's mistake: what it sent, and what the rule is. The facts of the catalogue's NBD_PROTOCOL. */
export interface NbdFault {
  readonly what: string;
  readonly found: string | number | bigint;
  readonly expected: string | number;
}

/** What was agreed so far. An option that agrees on more returns a changed one. */
export interface Session {
  readonly exports: readonly Export[];
  readonly fixedNewstyle: boolean;
  readonly noZeroes: boolean;
}

export type Answer =
  /** Haggling goes on. */
  | { readonly kind: 'haggle'; readonly session: Session; readonly output: readonly Uint8Array[] }
  /** Every byte after the output belongs to the transmission phase. */
  | { readonly kind: 'transmit'; readonly negotiated: Negotiated; readonly output: readonly Uint8Array[] }
  /** The session ends; without a fault where the peer ended it in good order. */
  | {
      readonly kind: 'close';
      readonly fault: NbdFault | undefined;
      readonly output: readonly Uint8Array[];
    };

/** What happens with data longer than `keptMaxBytes`. */
export type WhenLonger =
  /** It is dropped, and the option answered as if it had none. */
  | { readonly kind: 'drop' }
  /** It is dropped, and the option answered with this error. */
  | { readonly kind: 'error'; readonly type: number; readonly message: string }
  /** There is no way to answer with an error: the session ends. */
  | { readonly kind: 'close' };

export interface Option {
  /** As proto.md calls it. */
  readonly name: string;
  /** Data up to this length is handed over whole. */
  readonly keptMaxBytes: number;
  readonly whenLonger: WhenLonger;
  /** `option` is the number that the client sent: replies repeat it. */
  answer(session: Session, option: number, data: Uint8Array): Answer;
}

/** The end of every handshake that succeeds. */
export function transmit(session: Session, one: Export, output: readonly Uint8Array[]): Answer {
  const negotiated: Negotiated = {
    exportName: one.name,
    sizeBytes: one.sizeBytes,
    transmissionFlags: one.transmissionFlags,
    readOnly: (one.transmissionFlags & NBD_FLAG_READ_ONLY) !== 0,
    fixedNewstyle: session.fixedNewstyle,
    noZeroes: session.noZeroes,
    replies: 'simple',
    contexts: new Map(),
  };
  return { kind: 'transmit', negotiated, output };
}
