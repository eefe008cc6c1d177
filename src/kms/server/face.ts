/**
 * The network face without its sockets: a request comes in, a reply goes out.
 *
 * In this order: which protocol, who signed, whether that access key may call so often, whether it may do this (asked by
 * the protocol through the caller, on the key that is used), and then the embedded KMS. Every failure is worded by the
 * protocol that the request came in.
 */

import { isFailure, SealdiskError } from '../../errors.js';
import type { Log } from '../../log.js';
import type { AccessKeys } from '../local/access-keys.js';
import type { LocalKms } from '../local/local-kms.js';
import { Caller } from './caller.js';
import { refusal } from './http.js';
import { CALL_TIMEOUT_MS } from './limits.js';
import type { FaceMetrics } from './metrics.js';
import type { FaceRequest, Protocol, Reply } from './protocol.js';
import type { Rates } from './rate.js';

export interface FaceParts {
  readonly kms: LocalKms;
  /** The folder of `kms`. */
  readonly dir: string;
  readonly keys: AccessKeys;
  /** Asked in this order. */
  readonly protocols: readonly Protocol[];
  readonly rates: Rates;
  readonly metrics: FaceMetrics;
  readonly log: Log;
}

export class Face {
  constructor(private readonly parts: FaceParts) {}

  /** Never fails. */
  async answer(request: FaceRequest): Promise<Reply> {
    const { metrics, protocols } = this.parts;
    const protocol = protocols.find((each) => each.recognises(request));
    const operation = protocol?.operationOf(request) ?? 'unknown';
    const begunMs = performance.now();
    metrics.begin();
    const reply = await this.#reply(protocol, request);
    const seconds = (performance.now() - begunMs) / 1000;
    metrics.end(protocol?.name ?? 'unknown', operation, reply.status, seconds);
    return reply;
  }

  async #reply(protocol: Protocol | undefined, request: FaceRequest): Promise<Reply> {
    if (protocol === undefined) {
      return { status: 400, headers: { 'content-type': 'application/json' }, body: refusal(400) };
    }
    try {
      return await this.#carryOut(protocol, request);
    } catch (error) {
      this.#note(error, request);
      return protocol.failure(error, request);
    }
  }

  async #carryOut(protocol: Protocol, request: FaceRequest): Promise<Reply> {
    const { kms, dir, keys, rates, metrics } = this.parts;
    const key = await protocol.authenticate(request, keys, Date.now());
    if (!rates.take(key.accessKeyId, performance.now())) {
      metrics.throttled();
      throw new SealdiskError('KMS_THROTTLED', { keyUri: 'local:' });
    }
    return protocol.handle(request, new Caller(kms, dir, key, CALL_TIMEOUT_MS));
  }

  /** What the machine's keeper has to look at stands in the log; what callers do wrong stands in the audit log. */
  #note(error: unknown, { requestId }: FaceRequest): void {
    const ours = isFailure(error) && ['system', 'unreachable', 'internal'].includes(error.group);
    const alarming = ours ? !isFailure(error, 'KMS_THROTTLED') : isFailure(error, 'KMS_STORE_ALTERED');
    const unexpected = error instanceof Error && error.constructor !== SealdiskError && isBug(error);
    if (!alarming && !unexpected) return;
    const message = error instanceof Error ? error.message : 'failed';
    this.parts.log.error({ event: 'kms_call_failed', requestId, err: error }, message);
  }
}

const isBug = (error: Error): boolean => error instanceof TypeError || error instanceof RangeError;
