/**
 * Every limit of the NBD server's handshake, each with its reason.
 *
 * What a peer can make the server hold, do or wait for is bounded by a number on this page and by nothing else. The
 * relations between them are asserted when the module is loaded, so a limit that is changed to nonsense serves nobody.
 */

import { fail } from '../errors.js';

/** proto.md, "Conventions": a string MUST be no longer than 4096 bytes. Also the longest message of an error reply. */
export const STRING_MAX_BYTES = 4096;

/** Magic, option, length. */
export const OPTION_HEADER_BYTES = 16;

/** Information requests of one GO or INFO that are read. Four types are defined; room for those to come, and for a
 *  client that repeats itself. */
export const INFO_REQUESTS_MAX = 64;

/** Longest data of GO and INFO that is kept: the longest name and a full list of information requests. */
export const GO_KEPT_MAX_BYTES = 4 + STRING_MAX_BYTES + 2 + 2 * INFO_REQUESTS_MAX;

/** Longest data of LIST_META_CONTEXT and SET_META_CONTEXT that is kept: the longest name, the longest query, and 8 KiB of
 *  queries beside it, some 400 of the usual length. */
export const META_KEPT_MAX_BYTES = 4 + STRING_MAX_BYTES + 4 + 4 + STRING_MAX_BYTES + 8192;

/** Longest option data that is kept in memory. */
export const OPTION_KEPT_MAX_BYTES = Math.max(GO_KEPT_MAX_BYTES, META_KEPT_MAX_BYTES);

/** Longest option data that is read and dropped, so that the option can still be answered (NBD_REP_ERR_TOO_BIG or
 *  _UNSUP). No defined option comes near it; longer is taken for a denial of service, and the connection is closed. */
export const OPTION_SKIPPED_MAX_BYTES = 1024 * 1024;

/** NBD_OPT_EXPORT_NAME pads its answer so, unless NBD_FLAG_C_NO_ZEROES. */
export const EXPORT_NAME_ZEROES_BYTES = 124;

/** proto.md, "Size constraints": default preferred block size, that of a page and of our default sector. */
export const PREFERRED_BLOCK_BYTES = 4096;

/** proto.md, "Size constraints": the payload that every server should take, and that clients use unasked. */
export const ANNOUNCED_MAX_BYTES = 32 * 1024 * 1024;

/** proto.md, "Size constraints": a minimum block size MUST NOT be larger. */
export const MINIMUM_BLOCK_MAX_BYTES = 65536;

/** proto.md, "Size constraints": a preferred block size MUST NOT be smaller. */
export const PREFERRED_BLOCK_MIN_BYTES = 512;

/** sun_path of Linux without its final NUL; a longer path would be cut, and another file be made. */
export const SOCKET_PATH_MAX_BYTES = 107;

/** The limits that an owner of a server may choose. */
export interface Limits {
  /** Options in one handshake. A client that lists, then asks about each export, needs some; nobody needs more. */
  readonly optionsMax: number;
  /** From accept to the transmission phase. Half-open connections are cheap, but they count as connections. */
  readonly handshakeMs: number;
  /** Handshakes and transmissions together. A transmission costs the engine a thread and 16 MiB of locked memory, so
   *  this many cost 1 GiB; clients open 16 at most. */
  readonly connectionsMax: number;
  /** A transmission that had no request for this long, and has none waiting, is closed; 0: never. Kernels and guests
   *  stay silent for days, so it is an owner's choice. */
  readonly idleMs: number;
  /** What a handshake has left when the server closes: time to ask on, and to hear NBD_REP_ERR_SHUTDOWN. */
  readonly shutdownMs: number;
  /** Replies that the peer has not read yet. A peer that asks on without reading is closed. */
  readonly unreadRepliesMaxBytes: number;
}

export const DEFAULT_LIMITS: Limits = {
  optionsMax: 256,
  handshakeMs: 10_000,
  connectionsMax: 64,
  idleMs: 0,
  shutdownMs: 1000,
  unreadRepliesMaxBytes: 1024 * 1024,
};

/** Fails with INTERNAL unless `limits` can be kept. */
export function checkLimits(limits: Limits): Limits {
  for (const [name, value] of Object.entries(limits)) {
    const least = name === 'idleMs' ? 0 : 1;
    // setTimeout takes a longer one for 1 ms.
    const most = name.endsWith('Ms') ? 0x7fffffff : Number.MAX_SAFE_INTEGER;
    if (!Number.isSafeInteger(value) || value < least || value > most)
      fail('INTERNAL', { what: `NBD limit ${name} is ${value}` });
  }
  return limits;
}

function must(holds: boolean, relation: string): void {
  if (!holds) fail('INTERNAL', { what: `NBD limits: ${relation} does not hold` });
}

checkLimits(DEFAULT_LIMITS);
must(OPTION_KEPT_MAX_BYTES >= STRING_MAX_BYTES, 'a name fits the kept option data');
must(OPTION_SKIPPED_MAX_BYTES > OPTION_KEPT_MAX_BYTES, 'what is skipped is longer than what is kept');
must(PREFERRED_BLOCK_BYTES >= PREFERRED_BLOCK_MIN_BYTES, 'preferred >= its minimum');
must(ANNOUNCED_MAX_BYTES >= PREFERRED_BLOCK_BYTES, 'announced maximum >= preferred');
must(ANNOUNCED_MAX_BYTES <= 0xffffffff, 'the announced maximum fits 32 bits');
