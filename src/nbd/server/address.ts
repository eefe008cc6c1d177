/**
 * Where a server listens: TCP, a socket file that only its owner may open, or a socket that listens already.
 *
 * A socket file that a killed server left behind is replaced; one that answers, and a file that is no socket, are never
 * touched. Whatever fails, fails with NBD_ADDRESS.
 */

import { existsSync, lstatSync, unlinkSync } from 'node:fs';
import { connect, type Server } from 'node:net';
import { dirname } from 'node:path';
import { errnoOf, fail } from '../../errors.js';
import { SOCKET_PATH_MAX_BYTES } from '../limits.js';

export type SocketAddress = { readonly path: string } | { readonly host: string; readonly port: number };

export type ListenAddress =
  | SocketAddress
  /** A listening stream socket that was handed to us, and where it is bound; its file is not ours to remove. */
  | { readonly fd: number; readonly bound: SocketAddress };

export const hostPort = (host: string, port: number): string =>
  host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;

const shown = (address: SocketAddress): string =>
  'path' in address ? address.path : hostPort(address.host, address.port);

/** The path, or HOST:PORT with the port that the system chose. */
export function addressOf(server: Server, asked: ListenAddress): string {
  if ('fd' in asked) return shown(asked.bound);
  const address = server.address();
  if (address === null) return fail('INTERNAL', { what: 'a listening server without an address' });
  return typeof address === 'string' ? address : hostPort(address.address, address.port);
}

export async function listen(server: Server, address: ListenAddress): Promise<void> {
  try {
    if ('path' in address) await listenOnPath(server, address.path);
    else await bind(server, address);
  } catch (error) {
    const where = shown('fd' in address ? address.bound : address);
    fail('NBD_ADDRESS', { address: where, errno: errnoOf(error) }, error);
  }
}

const withCode = (code: string): Error => Object.assign(new Error(code), { code });

async function listenOnPath(server: Server, path: string): Promise<void> {
  if (Buffer.byteLength(path) > SOCKET_PATH_MAX_BYTES) {
    throw withCode('ENAMETOOLONG'); // Node would cut it short
  }
  try {
    await bind(server, { path });
  } catch (error) {
    if (!existsSync(dirname(path))) throw withCode('ENOENT'); // libuv says EACCES of it
    if (errnoOf(error) !== 'EADDRINUSE' || !(await isStale(path))) throw error;
    unlinkSync(path);
    await bind(server, { path });
  }
}

function bind(server: Server, address: ListenAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    const listening = (): void => {
      server.off('error', reject);
      resolve();
    };
    // listen() makes the socket file before it returns, so nobody ever sees it with other rights.
    const umask = process.umask(0o177);
    try {
      server.listen('fd' in address ? { fd: address.fd } : address, listening);
    } finally {
      process.umask(umask);
    }
  });
}

/** A socket file that nobody listens on. */
async function isStale(path: string): Promise<boolean> {
  // connect(2) refuses a regular file as it refuses a dead socket: look first.
  if (!lstatSync(path).isSocket()) return false;
  return new Promise((resolve) => {
    const probe = connect({ path });
    probe.on('connect', () => {
      probe.destroy();
      resolve(false);
    });
    probe.on('error', (error) => resolve(errnoOf(error) === 'ECONNREFUSED'));
  });
}
