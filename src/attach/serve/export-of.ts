/** What clients are told of a disk that the engine serves: all that it can do, in the words of the protocol. */

import type { ServeOptions } from '../../engine/engine.js';
import {
  NBD_FLAG_CAN_MULTI_CONN,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_SEND_CACHE,
  NBD_FLAG_SEND_FAST_ZERO,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES,
} from '../../nbd/constants.js';
import type { Export, Negotiated } from '../../nbd/server.js';

const ALWAYS =
  NBD_FLAG_HAS_FLAGS |
  NBD_FLAG_SEND_FLUSH |
  NBD_FLAG_SEND_FUA |
  NBD_FLAG_SEND_CACHE |
  NBD_FLAG_CAN_MULTI_CONN;
const WRITABLE = NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_FAST_ZERO;
const MAXIMUM_BLOCK_BYTES = 32 * 1024 * 1024;

/**
 * Metadata contexts: holes as data and zeroes (proto.md), whether the key is there, and what has changed since an older
 * snapshot, by the name that clients of QEMU know (docs/protocol.md).
 */
const ALLOCATION = 'base:allocation';
const KEY_STATE = 'sealdisk:key-state';
const CHANGED = 'qemu:dirty-bitmap:';

export interface Offered {
  readonly name: string;
  readonly description: string;
  readonly sizeBytes: bigint;
  readonly sectorSize: number;
  readonly readOnly: boolean;
  /** Name of the older snapshot, where clients are told what differs from it. */
  readonly changedSince?: string;
}

export const exportOf = ({ sectorSize, readOnly, changedSince, ...said }: Offered): Export => ({
  ...said,
  transmissionFlags: ALWAYS | (readOnly ? NBD_FLAG_READ_ONLY : WRITABLE),
  minimumBlockSize: 1,
  preferredBlockSize: Math.max(sectorSize, 4096),
  maximumBlockSize: MAXIMUM_BLOCK_BYTES,
  contexts: [ALLOCATION, KEY_STATE, ...(changedSince === undefined ? [] : [`${CHANGED}${changedSince}`])],
});

/** The contexts that a client has chosen, as the engine takes them. */
export function contextIds({ contexts }: Negotiated): NonNullable<ServeOptions['contexts']> {
  const named = [...contexts].map(([name, id]) => {
    if (name.startsWith(CHANGED)) return ['changed', id] as const;
    return [name === ALLOCATION ? 'allocation' : 'keyState', id] as const;
  });
  return Object.fromEntries(named);
}
