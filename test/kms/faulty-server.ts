/**
 * A server that misbehaves in the ways that networks, proxies, load balancers and impostors do. What it says always holds
 * `SECRET`, and a credential may be sent to it: neither may come back in an error.
 */

import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import type { Test } from 'tap';

export const SECRET = 'c2VjcmV0LTQ3MTEtc2VjcmV0';

/** What to do with one request. */
export type Manner = (request: IncomingMessage, response: ServerResponse) => void;

export interface Reply {
  readonly status: number;
  readonly body: string;
  readonly contentType?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Certificate {
  readonly key: Buffer;
  readonly cert: Buffer;
}

export class FaultyServer {
  /** Requests that came so far. */
  requests = 0;
  manner: Manner = silence;
  readonly #sockets = new Set<Socket>();

  private constructor(
    private readonly server: ReturnType<typeof createServer>,
    private readonly scheme: string,
  ) {
    server.on('request', (request, response) => {
      this.requests += 1;
      // Node minds a second reply and a late write; an impostor does not.
      response.on('error', () => {});
      this.manner(request, response);
    });
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => this.#sockets.delete(socket));
    });
    server.on('tlsClientError', () => {});
  }

  /** Over TLS with a certificate; with `clientCa`, to those alone that it signed. */
  static async start(t: Test, certificate?: Certificate, clientCa?: Buffer): Promise<FaultyServer> {
    const clients = clientCa && { ca: clientCa, requestCert: true, rejectUnauthorized: true };
    const http = certificate ? createTlsServer({ ...certificate, ...clients }) : createServer();
    const server = new FaultyServer(http, certificate ? 'https' : 'http');
    http.listen(0, '127.0.0.1');
    await once(http, 'listening');
    t.teardown(() => server.stop());
    return server;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** `http://127.0.0.1:PORT`, or https. */
  get origin(): string {
    return `${this.scheme}://127.0.0.1:${this.port}`;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    if (!this.server.listening) return;
    this.server.close();
    await once(this.server, 'close');
  }
}

export const silence: Manner = () => {};

export const reply =
  ({ status, body, contentType = 'application/json', headers = {} }: Reply): Manner =>
  (request, response) => {
    request.resume();
    response.writeHead(status, { 'content-type': contentType, ...headers });
    response.end(body);
  };

export const html = (status: number): Manner =>
  reply({ status, contentType: 'text/html', body: `<html><h1>${SECRET}</h1>` });

/** Bytes that no HTTP server would send, or whose connection ends too soon. */
export const raw =
  (bytes: string): Manner =>
  (request) => {
    request.resume();
    request.socket.end(bytes);
  };

export const hangUp: Manner = (request) => void request.socket.destroy();

/** A byte of a whole reply now and then, for ever. */
export const dribble =
  (start: string): Manner =>
  (request) => {
    request.resume();
    const { socket } = request;
    socket.write(start);
    const timer = setInterval(() => socket.write('a'), 20);
    socket.on('close', () => clearInterval(timer));
  };

/** A reply as good as endless, as fast as it is read. */
export const flood: Manner = (request, response) => {
  request.resume();
  response.writeHead(200, { 'content-type': 'application/json' });
  const part = Buffer.alloc(1 << 16, 'a');
  const go = (): void => {
    while (!response.destroyed && response.write(part));
  };
  response.on('drain', go);
  response.write(`{"a":"${SECRET}`);
  go();
};

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

export interface Authority {
  readonly caFile: string;
  readonly good: Certificate;
  readonly expired: Certificate;
}

/** A CA in `dir`, and what it signs for 127.0.0.1: a good certificate and one that has expired. */
export function makeAuthority(dir: string): Authority {
  const at = (name: string): string => join(dir, name);
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: dir, stdio: 'pipe' });
  openssl('req', '-x509', ...KEY, '-subj', '/CN=test CA', '-keyout', 'ca-key.pem', '-out', 'ca.pem');
  const san = ['-addext', 'subjectAltName=IP:127.0.0.1'];
  openssl('req', ...KEY, ...san, '-subj', '/CN=kms', '-keyout', 'key.pem', '-out', 'request.pem');
  const sign = ['x509', '-req', '-in', 'request.pem', '-CA', 'ca.pem', '-CAkey', 'ca-key.pem'];
  const issue = (name: string, days: string): Certificate => {
    openssl(...sign, '-CAcreateserial', '-copy_extensions', 'copy', '-days', days, '-out', name);
    return { key: readFileSync(at('key.pem')), cert: readFileSync(at(name)) };
  };
  return { caFile: at('ca.pem'), good: issue('good.pem', '1'), expired: issue('expired.pem', '-1') };
}
