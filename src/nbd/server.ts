/**
 * The NBD server up to the transmission phase. This file and those of server/ are the ones of this room that meet a
 * socket; the protocol itself is in handshake.ts.
 *
 * A peer's mistake ends its own connection, never the process. Connections count from accept until their transmission
 * has ended; one over the limit is closed at once.
 */

import { createServer, type Server, type Socket } from 'node:net';
import { errnoOf } from '../errors.js';
import { checkExports, type Export, type Replies } from './exports.js';
import { checkLimits, DEFAULT_LIMITS, type Limits } from './limits.js';
import { addressOf, hostPort, type ListenAddress, listen } from './server/address.js';
import {
  Connection,
  type ConnectionEvent,
  type Transmission,
  type TransmitArgs,
} from './server/connection.js';
import type { TlsOffer } from './tls-peer.js';

export type { Export, Negotiated, Replies } from './exports.js';
export type { Limits } from './limits.js';
export type { ListenAddress, SocketAddress } from './server/address.js';
export type { Transmission, TransmitArgs } from './server/connection.js';
export type { Activity } from './server/idle.js';
export type { TlsOffer, TlsPeer, TlsProgress } from './tls-peer.js';

export type ServerEvent =
  | ConnectionEvent
  /** Over the limit of connections: closed at once. */
  | { readonly kind: 'refused'; readonly peer: string; readonly connections: number }
  /** The system could not accept a connection (too many open files); the server listens on. */
  | { readonly kind: 'acceptFailed'; readonly errno: string };

export interface ServerOptions {
  /** One address or several; their connections count together. */
  readonly listen: ListenAddress | readonly ListenAddress[];
  /** Asked once at each new connection, which keeps the answer. */
  readonly exports: () => readonly Export[];
  /** Starts the transmission phase on a duplicate of `fd`, and returns at once. */
  readonly transmit: (args: TransmitArgs) => Transmission;
  readonly limits?: Partial<Limits>;
  /** The most that `transmit` speaks; 'simple' when left out. */
  readonly replies?: Replies;
  /** NBD_OPT_STARTTLS; undefined: TLS is off. */
  readonly tls?: TlsOffer;
  readonly onEvent?: (event: ServerEvent) => void;
}

export interface NbdServer {
  /** The path, or HOST:PORT with the port that the system chose; the first of several. */
  readonly address: string;
  /** All of them, in the order that was asked for. */
  readonly addresses: readonly string[];
  /** Stops listening, ends all connections, resolves when the last transmission has ended. Twice is fine. */
  close(): Promise<void>;
}

function peerOf({ remoteAddress, remotePort }: Socket, asked: ListenAddress): string {
  if ('path' in ('fd' in asked ? asked.bound : asked)) return 'unix';
  return remoteAddress === undefined ? 'gone' : hostPort(remoteAddress, remotePort ?? 0);
}

/** Fails with NBD_ADDRESS when an address cannot be had; then it listens on none. */
export async function startServer(options: ServerOptions): Promise<NbdServer> {
  const limits = checkLimits({ ...DEFAULT_LIMITS, ...options.limits });
  checkExports(options.exports());
  const emit = options.onEvent ?? (() => {});
  const connections = new Set<Connection>();

  const accept = (socket: Socket, asked: ListenAddress): void => {
    const peer = peerOf(socket, asked);
    if (connections.size >= limits.connectionsMax) {
      emit({ kind: 'refused', peer, connections: connections.size });
      socket.on('error', () => {}); // a peer that has gone already is no news
      socket.destroy();
      return;
    }
    const { exports, transmit, replies = 'simple', tls } = options;
    const connection = new Connection(socket, peer, { exports, replies, tls, transmit, limits, emit });
    connections.add(connection);
    void connection.gone.finally(() => connections.delete(connection));
  };

  const servers: Server[] = [];
  const addresses: string[] = [];
  // Each removes its socket file.
  const stop = () => Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  const close = async (): Promise<void> => {
    const stopped = stop();
    const last = [...connections];
    for (const connection of last) connection.close();
    await Promise.all([stopped, ...last.map((connection) => connection.gone)]);
  };
  try {
    for (const asked of [options.listen].flat()) {
      const server = createServer({ noDelay: true }, (socket) => accept(socket, asked));
      await listen(server, asked);
      server.on('error', (error) => emit({ kind: 'acceptFailed', errno: errnoOf(error) }));
      servers.push(server);
      addresses.push(addressOf(server, asked));
    }
  } catch (error) {
    await close();
    throw error;
  }

  let closing: Promise<void> | undefined;
  return {
    address: addresses[0] ?? '',
    addresses,
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}
