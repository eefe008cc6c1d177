/**
 * What NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT have in common: the export and the queries.
 *
 * A query is a namespace, a colon and a leaf-name, which may be empty. One without a namespace is refused, one that
 * nothing answers to is not: clients ask for what they could use (proto.md, NBD_OPT_LIST_META_CONTEXT).
 */

import { readText, readU32, shown } from '../bytes.js';
import { NBD_REP_ERR_INVALID, NBD_REP_ERR_TOO_BIG, NBD_REP_ERR_UNKNOWN } from '../constants.js';
import type { Export } from '../exports.js';
import { META_KEPT_MAX_BYTES, STRING_MAX_BYTES } from '../limits.js';
import { findExport, type Session } from '../session.js';

export interface Refusal {
  readonly kind: 'bad';
  /** NBD_REP_ERR_*. */
  readonly type: number;
  readonly why: string;
}

export type MetaRequest =
  | { readonly kind: 'good'; readonly one: Export; readonly queries: readonly string[] }
  | Refusal;

type Piece = { readonly kind: 'good'; readonly string: string; readonly endAt: number } | Refusal;

const bad = (why: string): Refusal => ({ kind: 'bad', type: NBD_REP_ERR_INVALID, why });

export const DATA_TOO_LONG: Refusal = {
  kind: 'bad',
  type: NBD_REP_ERR_TOO_BIG,
  why: `data longer than ${META_KEPT_MAX_BYTES} bytes`,
};

/** 32 bits of length, then the string. */
function pieceAt(data: Uint8Array, at: number, what: string): Piece {
  if (data.length - at < 4) return bad(`the length of ${what} is cut`);
  const lengthBytes = readU32(data, at);
  if (lengthBytes > data.length - at - 4) return bad(`${what} of ${lengthBytes} bytes does not fit the data`);
  if (lengthBytes > STRING_MAX_BYTES) {
    const why = `${what} of ${lengthBytes} bytes is longer than ${STRING_MAX_BYTES}`;
    return { kind: 'bad', type: NBD_REP_ERR_TOO_BIG, why };
  }
  const endAt = at + 4 + lengthBytes;
  const string = readText(data.subarray(at + 4, endAt));
  return string === undefined ? bad(`${what} is not UTF-8 without NUL`) : { kind: 'good', string, endAt };
}

/** The queries from `at` on, where their number stands; nothing after them. */
function queriesAt(data: Uint8Array, at: number): string[] | Refusal {
  if (data.length - at < 4) return bad('the number of queries is cut');
  const count = readU32(data, at);
  const queries: string[] = [];
  let endAt = at + 4;
  while (queries.length < count) {
    const piece = pieceAt(data, endAt, `query ${queries.length + 1} of ${count}`);
    if (piece.kind === 'bad') return piece;
    if (piece.string.indexOf(':') < 1) return bad(`query ${shown(piece.string)} has no namespace`);
    queries.push(piece.string);
    endAt = piece.endAt;
  }
  return endAt === data.length ? queries : bad(`${data.length - endAt} bytes behind the last query`);
}

export function parseMetaRequest(session: Session, data: Uint8Array): MetaRequest {
  const name = pieceAt(data, 0, 'a name');
  if (name.kind === 'bad') return name;
  const queries = queriesAt(data, name.endAt);
  if (!Array.isArray(queries)) return queries;
  const one = findExport(session, name.string);
  // proto.md, "SELECTIVETLS mode": NBD_REP_ERR_TLS_REQD is not for these options.
  if (typeof one === 'string') {
    return { kind: 'bad', type: NBD_REP_ERR_UNKNOWN, why: `no export ${shown(name.string)}` };
  }
  return { kind: 'good', one, queries };
}
