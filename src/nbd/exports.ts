/**
 * What a server offers, and what a handshake ends in.
 *
 * An Export is described by us, so one that breaks a rule of proto.md is our mistake, not a peer's: `checkExports`
 * fails with INTERNAL before a byte of it is announced. A handshake keeps the exports that it began with, so that INFO
 * and a following GO say the same (proto.md, NBD_OPT_INFO).
 */

import { fail } from '../errors.js';
import { shown, text } from './bytes.js';
import { NBD_FLAG_BLOCK_STATUS_PAYLOAD, NBD_FLAG_HAS_FLAGS, NBD_FLAG_SEND_DF } from './constants.js';
import { MINIMUM_BLOCK_MAX_BYTES, PREFERRED_BLOCK_MIN_BYTES, STRING_MAX_BYTES } from './limits.js';

export interface Export {
  /** At most 4096 bytes of UTF-8, no NUL. The empty name is that of the default export. */
  readonly name: string;
  /** For people; may be empty. As long as a name at most. */
  readonly description: string;
  readonly sizeBytes: bigint;
  /** NBD_FLAG_* of the transmission phase; NBD_FLAG_HAS_FLAGS is always set. The handshake adds those that depend on what
   *  is negotiated: NBD_FLAG_SEND_DF, NBD_FLAG_BLOCK_STATUS_PAYLOAD. */
  readonly transmissionFlags: number;
  /** Bytes; a power of two up to 65536. Announced, so that clients align; the engine serves any alignment. */
  readonly minimumBlockSize: number;
  /** Bytes; a power of two, at least 512 and the minimum. */
  readonly preferredBlockSize: number;
  /** Bytes of payload of one request, at least the preferred size. */
  readonly maximumBlockSize: number;
  /** Names of the metadata contexts that a client may select, as in "base:allocation"; none of them twice. */
  readonly contexts: readonly string[];
  /** Names of TLS clients that may see and open it (TlsPeer.clientName); undefined: everybody may. */
  readonly clientNames?: readonly string[];
}

/** What the server says in the transmission phase: simple replies, structured ones, or both sides' extended headers. */
export type Replies = 'simple' | 'structured' | 'extended';

const RANK: Readonly<Record<Replies, number>> = { simple: 0, structured: 1, extended: 2 };

/** Whether who speaks `most` speaks `wanted`. */
export const speaks = (most: Replies, wanted: Replies): boolean => RANK[most] >= RANK[wanted];

/** What the server can do beside its exports. */
export interface Abilities {
  /** The most that its transmission phase speaks: with more than simple replies, DF and block status, too. */
  readonly replies: Replies;
  readonly tls: 'off' | 'on' | 'require';
}

/** proto.md, "Baseline". */
export const BASELINE: Abilities = { replies: 'simple', tls: 'off' };

/** What both sides agreed on: enough to start the transmission phase. */
export interface Negotiated {
  /** The canonical name: that of the first export where the client asked for the default one by its empty name. */
  readonly exportName: string;
  readonly sizeBytes: bigint;
  readonly transmissionFlags: number;
  readonly readOnly: boolean;
  /** The client set NBD_FLAG_C_FIXED_NEWSTYLE. */
  readonly fixedNewstyle: boolean;
  /** The client set NBD_FLAG_C_NO_ZEROES. */
  readonly noZeroes: boolean;
  readonly replies: Replies;
  /** The metadata contexts that the client selected: name to id, which is not 0. Empty with simple replies. */
  readonly contexts: ReadonlyMap<string, number>;
}

const isPowerOfTwo = (value: number): boolean =>
  Number.isSafeInteger(value) && value > 0 && Number.isInteger(Math.log2(value));

const NEGOTIATED_FLAGS = NBD_FLAG_SEND_DF | NBD_FLAG_BLOCK_STATUS_PAYLOAD;

function flawOf(one: Export): string | undefined {
  for (const field of ['name', 'description'] as const) {
    if (text(one[field]).length > STRING_MAX_BYTES) return `${field} longer than ${STRING_MAX_BYTES} bytes`;
    if (one[field].includes('\0')) return `${field} with a NUL`;
  }
  const { minimumBlockSize: minimum, preferredBlockSize: preferred, maximumBlockSize: maximum } = one;
  if (one.sizeBytes < 0n || one.sizeBytes >= 1n << 63n) return `size ${one.sizeBytes}`;
  if ((one.transmissionFlags & NBD_FLAG_HAS_FLAGS) === 0 || one.transmissionFlags > 0xffff) {
    return `transmission flags ${one.transmissionFlags}`;
  }
  if ((one.transmissionFlags & NEGOTIATED_FLAGS) !== 0) return 'transmission flags that are negotiated';
  if (!isPowerOfTwo(minimum) || minimum > MINIMUM_BLOCK_MAX_BYTES) return `minimum block size ${minimum}`;
  if (!isPowerOfTwo(preferred) || preferred < Math.max(minimum, PREFERRED_BLOCK_MIN_BYTES)) {
    return `preferred block size ${preferred}`;
  }
  if (!Number.isInteger(maximum) || maximum < preferred || maximum > 0xffffffff) {
    return `maximum block size ${maximum}`;
  }
  return flawOfContexts(one.contexts);
}

/** proto.md, "Metadata querying": namespace, colon, leaf-name. */
const CONTEXT_NAME = /^[^\s:\0]+:[^\0]+$/u;

function flawOfContexts(contexts: readonly string[]): string | undefined {
  const wrong = contexts.find((name) => !CONTEXT_NAME.test(name) || text(name).length > STRING_MAX_BYTES);
  if (wrong !== undefined) return `metadata context ${shown(wrong)}`;
  return new Set(contexts).size === contexts.length ? undefined : 'a metadata context twice';
}

/** Fails with INTERNAL unless all can be announced. */
export function checkExports(exports: readonly Export[]): readonly Export[] {
  for (const one of exports) {
    const flaw = flawOf(one);
    if (flaw !== undefined) fail('INTERNAL', { what: `NBD export with ${flaw}` });
  }
  if (new Set(exports.map((one) => one.name)).size !== exports.length) {
    fail('INTERNAL', { what: 'two NBD exports of one name' });
  }
  return exports;
}
