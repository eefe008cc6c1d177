/**
 * A server for one peer, on a stream socket that is connected already: an end of a socket pair, say, where nobody else can
 * come in.
 */

import type { Socket } from 'node:net';
import type { Export } from './exports.js';
import { DEFAULT_LIMITS } from './limits.js';
import { Connection, type TransmitArgs } from './server/connection.js';
import type { Transmission } from './server.js';

export interface OnePeer {
  readonly export: Export;
  /** As `ServerOptions.transmit`. */
  readonly transmit: (args: TransmitArgs) => Transmission;
}

/** Takes the socket over; resolves when nothing of the connection is left. */
export function serveOnePeer(socket: Socket, { export: one, transmit }: OnePeer): Promise<void> {
  const { gone } = new Connection(socket, 'unix', {
    exports: () => [one],
    replies: 'extended',
    tls: undefined,
    transmit,
    limits: DEFAULT_LIMITS,
    emit: () => {},
  });
  return gone;
}
