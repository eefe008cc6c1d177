/**
 * HTTP of the network face: from a socket to whole, bounded requests and back.
 *
 * Kept true: whatever comes gets a reply in JSON, unless the other side has gone; a request that is slow or too long is cut;
 * a body is overwritten when its reply has been sent, and so is the reply's. Once it drains, requests that were begun are
 * answered, each with the word that the connection ends, and no new one is taken in.
 * node:http as it is: there is one path, so a framework's routes, hooks and parsers would only stand between us and the
 * bytes that are signed.
 */

import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { SecureContextOptions } from 'node:tls';
import { errnoOf, fail } from '../../errors.js';
import {
  BACKLOG,
  BODY_MAX_BYTES,
  CONNECTIONS_MAX,
  HEADERS_MAX_BYTES,
  HEADERS_TIMEOUT_MS,
  IDLE_TIMEOUT_MS,
  REQUEST_TIMEOUT_MS,
  STALL_TIMEOUT_MS,
} from './limits.js';
import type { FaceRequest, Reply } from './protocol.js';

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface HttpOptions {
  readonly address: Address;
  /** Left out for plain HTTP. */
  readonly tls?: SecureContextOptions;
  readonly headersTimeoutMs?: number;
  readonly requestTimeoutMs?: number;
  /** Makes the reply to a whole request. Never fails. */
  answer(request: FaceRequest): Promise<Reply>;
  /** Told of each request that was refused before anything was made of it. */
  refused?(status: number): void;
}

export class HttpFace {
  #draining = false;
  /** Connections, with how many requests of each are begun and not yet answered. */
  readonly #sockets = new Map<Socket, number>();

  private constructor(
    private readonly server: Server | TlsServer,
    private readonly options: HttpOptions,
  ) {}

  /** Resolves when clients may come. Fails with KMS_LISTEN. */
  static async listen(options: HttpOptions): Promise<HttpFace> {
    const http = {
      maxHeaderSize: HEADERS_MAX_BYTES,
      headersTimeout: options.headersTimeoutMs ?? HEADERS_TIMEOUT_MS,
      requestTimeout: options.requestTimeoutMs ?? REQUEST_TIMEOUT_MS,
      keepAliveTimeout: IDLE_TIMEOUT_MS,
      connectionsCheckingInterval: 500,
      requireHostHeader: false, // Node would refuse without a word
      noDelay: true,
    };
    const server = options.tls
      ? createTlsServer({ ...http, ...options.tls, handshakeTimeout: HEADERS_TIMEOUT_MS })
      : createServer(http);
    const face = new HttpFace(server, options);
    face.#hear();
    const { host, port } = options.address;
    try {
      server.listen({ host, port, backlog: BACKLOG });
      await once(server, 'listening');
    } catch (error) {
      fail('KMS_LISTEN', { address: `${host}:${port}`, errno: errnoOf(error) }, error);
    }
    return face;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** `http://127.0.0.1:PORT`, or https. */
  get origin(): string {
    const { address, family, port } = this.server.address() as AddressInfo;
    const host = family === 'IPv6' ? `[${address}]` : address;
    return `${this.options.tls ? 'https' : 'http'}://${host}:${port}`;
  }

  /** Connections that come from now on get this certificate. */
  renew(tls: SecureContextOptions): void {
    if ('setSecureContext' in this.server) this.server.setSecureContext(tls);
  }

  /** Connections there are. */
  async connections(): Promise<number> {
    return new Promise((resolve) => this.server.getConnections((_error, count) => resolve(count ?? 0)));
  }

  /** Takes no more requests, answers those that were begun, cuts what is there after `timeoutMs`. */
  async close(timeoutMs: number): Promise<void> {
    this.#draining = true;
    const closed = once(this.server, 'close');
    this.server.close();
    for (const [socket, begun] of this.#sockets) if (begun === 0) socket.destroy();
    const timer = setTimeout(() => this.server.closeAllConnections(), timeoutMs);
    await closed;
    clearTimeout(timer);
  }

  #hear(): void {
    const { server } = this;
    server.maxConnections = CONNECTIONS_MAX;
    server.on(this.options.tls ? 'secureConnection' : 'connection', (socket: Socket) => {
      this.#sockets.set(socket, 0);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    server.setTimeout(STALL_TIMEOUT_MS);
    const serve = (request: IncomingMessage, response: ServerResponse): void => {
      this.#count(request.socket, 1);
      response.once('close', () => this.#count(request.socket, -1));
      void this.#serve(request, response);
    };
    server.on('request', serve);
    server.on('checkContinue', (request, response) => {
      if (!tooLong(request)) response.writeContinue();
      serve(request, response);
    });
    server.on('checkExpectation', (request, response) => this.#refuse(request, response, 417));
    server.on('connect', (_request, socket: Socket) => this.#refuseRaw(socket, 405));
    server.on('upgrade', (_request, socket: Socket) => this.#refuseRaw(socket, 400));
    server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
      if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
      this.#refuseRaw(socket, statusOf(error.code));
    });
  }

  #count(socket: Socket, by: number): void {
    const begun = this.#sockets.get(socket);
    if (begun !== undefined) this.#sockets.set(socket, begun + by);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await readBody(request);
    if (body === 'gone') return;
    if (body === 'tooLong') return this.#refuse(request, response, 413);
    if (request.headers.host === undefined) return this.#refuse(request, response, 400);
    const requestId = randomUUID();
    const url = request.url ?? '/';
    const at = url.indexOf('?');
    const reply = await this.options.answer({
      requestId,
      method: request.method ?? '',
      path: at < 0 ? url : url.slice(0, at),
      query: at < 0 ? '' : url.slice(at + 1),
      headers: request.headers as Record<string, string>,
      body,
    });
    body.fill(0);
    if (this.#draining) response.setHeader('connection', 'close');
    response.writeHead(reply.status, { ...reply.headers, 'content-length': reply.body.length });
    response.once('close', () => reply.body.fill(0));
    response.end(reply.body);
  }

  /** Says no, and ends the connection: what may still come on it is not read. */
  #refuse(request: IncomingMessage, response: ServerResponse, status: number): void {
    this.options.refused?.(status);
    const body = refusal(status);
    response.writeHead(status, {
      'content-type': 'application/json',
      'content-length': body.length,
      connection: 'close',
    });
    response.end(body, () => request.destroy());
  }

  /** As `#refuse`, where Node has made no response. */
  #refuseRaw(socket: Socket, status: number): void {
    this.options.refused?.(status);
    const body = refusal(status);
    const head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\ncontent-type: application/json\r\n`;
    socket.end(`${head}content-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`, () =>
      socket.destroy(),
    );
  }
}

const tooLong = (request: IncomingMessage): boolean =>
  Number(request.headers['content-length'] ?? 0) > BODY_MAX_BYTES;

/** The whole body, in a Buffer of its own; what it came in is overwritten. */
function readBody(request: IncomingMessage): Promise<Buffer | 'tooLong' | 'gone'> {
  if (tooLong(request)) return Promise.resolve('tooLong');
  return new Promise((resolve) => {
    const parts: Buffer[] = [];
    let bytes = 0;
    request.on('data', (part: Buffer) => {
      bytes += part.length;
      if (bytes <= BODY_MAX_BYTES) return void parts.push(part);
      request.pause();
      wipe(parts);
      resolve('tooLong');
    });
    request.on('end', () => {
      const body = Buffer.concat(parts);
      wipe(parts);
      resolve(body);
    });
    request.on('close', () => {
      wipe(parts);
      resolve('gone');
    });
    request.on('error', () => resolve('gone'));
  });
}

function wipe(parts: Buffer[]): void {
  for (const part of parts.splice(0)) part.fill(0);
}

function statusOf(code: string | undefined): number {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return 408;
  return code === 'HPE_HEADER_OVERFLOW' ? 431 : 400;
}

/** For clients of any protocol: AWS's SDKs look for `__type`, Alibaba's for `Code`. */
export function refusal(status: number): Buffer {
  const name = (STATUS_CODES[status] ?? 'Bad Request').replace(/[^A-Za-z]/g, '');
  const message = `The request is refused: ${STATUS_CODES[status]}.`;
  return Buffer.from(
    JSON.stringify({
      __type: status === 408 ? 'RequestTimeoutException' : `${name}Exception`,
      message,
      Code: name,
      Message: message,
      RequestId: randomUUID(),
    }),
  );
}
