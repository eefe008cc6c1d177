/**
 * The contract of an option: one file here and one row in table.ts make the handshake speak it.
 *
 * The handshake reads the data, keeps the limits and the order; an option only computes its answer from what was
 * agreed so far and the data, whole. It holds nothing between two calls.
 */

import type { Export, Negotiated, Replies } from '../exports.js';
import { errorReply } from '../replies.js';
import { negotiatedFor, type Session } from '../session.js';

/** A peer's mistake: what it sent, and what the rule is. The facts of the catalogue's NBD_PROTOCOL. */
export interface NbdFault {
  readonly what: string;
  readonly found: string | number | bigint;
  readonly expected: string | number;
}

export type Answer =
  /** Haggling goes on. */
  | { readonly kind: 'haggle'; readonly session: Session; readonly output: readonly Uint8Array[] }
  /** Every byte after the output belongs to TLS; haggling goes on inside it. */
  | { readonly kind: 'tls'; readonly session: Session; readonly output: readonly Uint8Array[] }
  /** Every byte after the output belongs to the transmission phase. */
  | { readonly kind: 'transmit'; readonly negotiated: Negotiated; readonly output: readonly Uint8Array[] }
  /** The session ends; without a fault where the peer ended it in good order, or we close. */
  | {
      readonly kind: 'close';
      readonly fault: NbdFault | undefined;
      readonly output: readonly Uint8Array[];
    };

export interface Option {
  /** As proto.md calls it. */
  readonly name: string;
  /** The server speaks the option only if its transmission phase speaks this. */
  readonly needs?: Replies;
  /** Data up to this length is handed over whole. */
  readonly keptMaxBytes: number;
  /** `option` is the number that the client sent: replies repeat it. */
  answer(session: Session, option: number, data: Uint8Array): Answer;
  /** The answer to longer data, which was dropped. Without it there is no way to answer, and the session ends. */
  answerLonger?(session: Session, option: number): Answer;
}

export const haggle = (session: Session, ...output: readonly Uint8Array[]): Answer => ({
  kind: 'haggle',
  session,
  output,
});

/** `type` is one of NBD_REP_ERR_*, `why` one line for people. */
export const refuse = (session: Session, option: number, type: number, why: string): Answer =>
  haggle(session, errorReply(option, type, why));

/** The end of every handshake that succeeds. */
export const transmit = (session: Session, one: Export, output: readonly Uint8Array[]): Answer => ({
  kind: 'transmit',
  negotiated: negotiatedFor(session, one),
  output,
});
