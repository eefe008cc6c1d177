/**
 * The keeper's own address, apart from the clients': `/healthz` says that the process answers, `/readyz` that it would
 * serve a client now, `/metrics` what it has done. It knows no keys and asks for no signature, so keep it off the network.
 */

import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Registry } from 'prom-client';
import { errnoOf, fail } from '../../errors.js';
import type { Address } from './http.js';

export interface HealthParts {
  readonly registry: Registry;
  /** Why no client would be served now; undefined when all is well. */
  unready(): Promise<string | undefined>;
}

interface Page {
  readonly status: number;
  readonly type: string;
  readonly text: string;
}

const JSON_TYPE = 'application/json';

/** Resolves when it listens. Fails with KMS_LISTEN. */
export async function listenHealth(address: Address, parts: HealthParts): Promise<Server> {
  const server = createServer({ headersTimeout: 5000, requestTimeout: 5000 }, (request, response) => {
    request.resume();
    const path = (request.url ?? '').split('?')[0];
    pageOf(request.method === 'GET' ? path : '', parts).then(
      ({ status, type, text }) => response.writeHead(status, { 'content-type': type }).end(text),
      () => response.writeHead(500, { 'content-type': JSON_TYPE }).end('{"status":"failed"}'),
    );
  });
  try {
    server.listen(address.port, address.host);
    await once(server, 'listening');
  } catch (error) {
    fail('KMS_LISTEN', { address: `${address.host}:${address.port}`, errno: errnoOf(error) }, error);
  }
  return server;
}

export const portOf = (server: Server): number => (server.address() as AddressInfo).port;

async function pageOf(path: string | undefined, { registry, unready }: HealthParts): Promise<Page> {
  switch (path) {
    case '/healthz':
      return { status: 200, type: JSON_TYPE, text: '{"status":"ok"}' };
    case '/readyz': {
      const why = await unready();
      if (why === undefined) return { status: 200, type: JSON_TYPE, text: '{"status":"ready"}' };
      return { status: 503, type: JSON_TYPE, text: JSON.stringify({ status: 'unready', why }) };
    }
    case '/metrics':
      return { status: 200, type: registry.contentType, text: await registry.metrics() };
    default:
      return { status: 404, type: JSON_TYPE, text: '{"status":"not found"}' };
  }
}
