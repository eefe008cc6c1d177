/**
 * What a handshake has agreed on so far, and what follows from it for an export.
 *
 * Nothing that was agreed before TLS outlives it (proto.md, NBD_OPT_STARTTLS), and an export with client names does not
 * exist for anybody else: LIST leaves it out, and every answer is that for a name that nobody has. Only a client that may
 * still begin TLS hears that it must (proto.md, "SELECTIVETLS mode"), and hears the same of names that nobody has.
 */

import { NBD_FLAG_BLOCK_STATUS_PAYLOAD, NBD_FLAG_READ_ONLY, NBD_FLAG_SEND_DF } from './constants.js';
import type { Abilities, Export, Negotiated, Replies } from './exports.js';

/** What was agreed so far. An option that agrees on more returns a changed one. */
export interface Session {
  readonly exports: readonly Export[];
  /** The most that the transmission phase speaks. */
  readonly repliesMost: Replies;
  readonly fixedNewstyle: boolean;
  readonly noZeroes: boolean;
  readonly replies: Replies;
  /** What the last NBD_OPT_SET_META_CONTEXT selected. */
  readonly selected: Selection | undefined;
  readonly tls: 'off' | 'offered' | 'required' | 'begun';
  /** Who the client is, as TLS has proved. */
  readonly clientName: string | undefined;
  /** The server is about to close. */
  readonly closing: boolean;
}

export interface Selection {
  /** Canonical. */
  readonly exportName: string;
  readonly ids: ReadonlyMap<string, number>;
}

const TLS_OF_MODE = { off: 'off', on: 'offered', require: 'required' } as const;

/** Before the first byte of the client. */
export const newSession = (exports: readonly Export[], abilities: Abilities): Session => ({
  exports,
  repliesMost: abilities.replies,
  fixedNewstyle: false,
  noZeroes: false,
  replies: 'simple',
  selected: undefined,
  tls: TLS_OF_MODE[abilities.tls],
  clientName: undefined,
  closing: false,
});

/** From here on in TLS: what came in the clear may have been anybody's, and counts for nothing (CVE-2021-3716). */
export const begunTls = (session: Session): Session => ({
  ...session,
  replies: 'simple',
  selected: undefined,
  tls: 'begun',
});

const maySee = ({ clientName }: Session, { clientNames }: Export): boolean =>
  clientNames === undefined || (clientName !== undefined && clientNames.includes(clientName));

/** The exports that the client may know of. */
export const exportsSeen = (session: Session): readonly Export[] =>
  session.exports.filter((one) => maySee(session, one));

/** The export of that name; for the empty name, where no export has it, the first, whoever asks. */
export function findExport(session: Session, name: string): Export | 'unknown' | 'TLS required' {
  const { exports } = session;
  const found = exports.find((one) => one.name === name) ?? (name === '' ? exports[0] : undefined);
  if (found && maySee(session, found)) return found;
  const hidden = session.tls === 'offered' && exports.some((one) => !maySee(session, one));
  return hidden ? 'TLS required' : 'unknown';
}

const NO_CONTEXTS: ReadonlyMap<string, number> = new Map();

/** The export as this session will have it: with the flags that depend on what is negotiated. */
export function negotiatedFor(session: Session, one: Export): Negotiated {
  const { fixedNewstyle, noZeroes, replies, selected } = session;
  const contexts = selected?.exportName === one.name ? selected.ids : NO_CONTEXTS;
  const structured = replies === 'simple' ? 0 : NBD_FLAG_SEND_DF;
  const filtered = replies === 'extended' && contexts.size > 0 ? NBD_FLAG_BLOCK_STATUS_PAYLOAD : 0;
  return {
    exportName: one.name,
    sizeBytes: one.sizeBytes,
    transmissionFlags: one.transmissionFlags | structured | filtered,
    readOnly: (one.transmissionFlags & NBD_FLAG_READ_ONLY) !== 0,
    fixedNewstyle,
    noZeroes,
    replies,
    contexts,
  };
}
