/**
 * HTTP for providers whose KMS needs no package of its own.
 *
 * Kept true: a request ends at its deadline, whatever the other side does; a reply is bounded; nobody is followed
 * elsewhere; certificates are checked; a failure of the transport is one of the contract, and shows no text of it.
 */

import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
} from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { Socket } from 'node:net';
import { SealdiskError } from '../errors.js';
import type { Deadline } from './local/deadline.js';
import { transportFailure } from './transport.js';

const REPLY_MAX_BYTES = 1 << 20;
/** A connection that nobody used for so long is closed, so that a check interval of minutes keeps none. */
const IDLE_MS = 30_000;

export interface HttpRequest {
  readonly method: 'GET' | 'POST';
  /** Absolute path, with its query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Overwritten when the request has ended. */
  readonly body?: Buffer;
}

/** PEM: the CAs to trust instead of Node's, and what to prove ourselves by. */
export interface TlsFiles {
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
}

export interface HttpReply {
  readonly status: number;
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string>>;
  /** The caller overwrites it when it may hold a secret. */
  readonly body: Buffer;
}

export class HttpClient {
  readonly #agent: HttpAgent;
  readonly #origin: URL;

  constructor(
    origin: string,
    private readonly keyUri: string,
    tls: TlsFiles = {},
  ) {
    this.#origin = new URL(origin);
    const options = { keepAlive: true, timeout: IDLE_MS, maxSockets: 8 };
    this.#agent =
      this.#origin.protocol === 'https:'
        ? new HttpsAgent({ ...options, ...tls, minVersion: 'TLSv1.2' })
        : new HttpAgent(options);
  }

  /** Fails with KMS_TIMEOUT, KMS_CONNECTION or KMS_BAD_REPLY; any status is a reply. */
  async send(request: HttpRequest, deadline: Deadline): Promise<HttpReply> {
    try {
      return await this.#once(request, deadline).catch((error) => {
        // A connection that waited for the next request may be closed under it; nothing was answered then.
        if (!(error instanceof Stale)) throw error;
        return this.#once(request, deadline);
      });
    } catch (error) {
      if (error instanceof SealdiskError) throw error;
      deadline.check();
      const cause = error instanceof Stale ? error.cause : error;
      const known = transportFailure(cause, this.keyUri);
      throw known ?? new SealdiskError('KMS_CONNECTION', { keyUri: this.keyUri, why: 'it broke off' });
    } finally {
      request.body?.fill(0);
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  #once({ method, path, headers, body }: HttpRequest, deadline: Deadline): Promise<HttpReply> {
    deadline.check();
    const signal = AbortSignal.timeout(Math.ceil(deadline.remainingMs));
    const start = this.#origin.protocol === 'https:' ? httpsRequest : httpRequest;
    return new Promise((resolve, reject) => {
      let answered = false;
      const refuse = (error: Error): void => {
        const stale = sent.reusedSocket && !answered;
        reject(signal.aborted ? timeoutOf(deadline) : stale ? new Stale(error) : error);
      };
      const sent = start(this.#origin, {
        method,
        path,
        agent: this.#agent,
        signal,
        headers: { ...headers, ...(body && { 'content-length': body.length }) },
      });
      sent.once('socket', (socket) => overwriteAfter(socket, sent));
      sent.once('response', (response) => {
        answered = true;
        const { statusCode: status = 0 } = response;
        const headers = response.headers as Record<string, string>;
        bounded(response, this.keyUri).then((whole) => resolve({ status, headers, body: whole }), refuse);
      });
      sent.on('error', refuse);
      sent.end(body);
    });
  }
}

/** The parser of HTTP, which listens first, takes copies of what the socket gives. */
function overwriteAfter(socket: Socket, sent: ClientRequest): void {
  const overwrite = (part: Buffer): void => void part.fill(0);
  socket.on('data', overwrite);
  sent.once('close', () => socket.off('data', overwrite));
}

/** A kept connection that broke before the reply. */
class Stale extends Error {
  constructor(override readonly cause: Error) {
    super('stale');
  }
}

const timeoutOf = (deadline: Deadline): SealdiskError =>
  new SealdiskError('KMS_TIMEOUT', { keyUri: deadline.keyUri, timeoutMs: deadline.timeoutMs });

/** The whole body in one Buffer of its own; its parts are overwritten. */
async function bounded(response: IncomingMessage, keyUri: string): Promise<Buffer> {
  const parts: Buffer[] = [];
  let sizeBytes = 0;
  try {
    for await (const part of response as AsyncIterable<Buffer>) {
      parts.push(part);
      sizeBytes += part.length;
      if (sizeBytes > REPLY_MAX_BYTES) {
        throw new SealdiskError('KMS_BAD_REPLY', { keyUri, why: `more than ${REPLY_MAX_BYTES} bytes` });
      }
    }
    const whole = Buffer.alloc(sizeBytes);
    let at = 0;
    for (const part of parts) at += part.copy(whole, at);
    return whole;
  } finally {
    for (const part of parts) part.fill(0);
  }
}
