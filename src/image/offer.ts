/**
 * A payload that another program is let at: as an NBD export on one end of a socket pair, the other end of which only that
 * program has. No name leads there, so nobody else comes in; and the program needs no right to the file.
 */

import { Socket } from 'node:net';
import { contextIds, exportOf } from '../attach/serve/export-of.js';
import { type EngineDisk, engine } from '../engine/engine.js';
import { serveOnePeer } from '../nbd/one-peer.js';

export interface Offer {
  readonly disk: EngineDisk;
  readonly sizeBytes: bigint;
  readonly sectorSize: 512 | 4096;
  readonly readOnly: boolean;
}

export interface OfferedEnd {
  /** Blocking, to be given to the program and then closed here. */
  readonly fd: number;
  /** Settles when the program has let go of it. */
  readonly gone: Promise<void>;
}

/** A new connection to the export, which has the empty name. ENGINE_SYSTEM. */
export function connectTo({ disk, sizeBytes, sectorSize, readOnly }: Offer): OfferedEnd {
  const [ours, theirs] = engine().socketPair();
  const gone = serveOnePeer(new Socket({ fd: ours }), {
    export: exportOf({ name: '', description: '', sizeBytes, sectorSize, readOnly }),
    transmit: ({ fd, rest, negotiated }) =>
      disk.serve({
        fd,
        rest,
        readOnly,
        replies: negotiated.replies,
        contexts: contextIds(negotiated),
      }),
  });
  return { fd: theirs, gone };
}
