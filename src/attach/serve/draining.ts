/**
 * A client's connection whose end is patient: what has begun to arrive is answered first, but no client delays the end for
 * longer than it was given.
 */

import type { Connection } from '../../engine/engine.js';
import type { Transmission } from '../../nbd/server.js';

/** `close()` drains, and cuts `drainMs` later; `onCut` hears of a client that took longer. */
export function draining(connection: Connection, drainMs: number, onCut: () => void): Transmission {
  let cut: NodeJS.Timeout | undefined;
  return {
    activity: () => connection.activity(),
    ended: connection.ended.finally(() => clearTimeout(cut)),
    close: () => {
      if (cut) return;
      connection.drain();
      cut = setTimeout(() => {
        onCut();
        connection.close();
      }, drainMs);
    },
  };
}
