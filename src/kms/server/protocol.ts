/**
 * What a wire protocol of the network face is: how its requests are known, who signed one, what is answered.
 *
 * One port serves all protocols; the first that recognises a request has it. A protocol reads and words; what is bounded,
 * counted, throttled, cut or overwritten is the listener's (http.ts, face.ts). A protocol is without state of its own but
 * for what guards against replays, so that many requests go through it at once.
 */

import type { AccessKey, AccessKeys } from '../local/access-keys.js';
import type { Caller } from './caller.js';

/** A whole request. */
export interface FaceRequest {
  /** Names this exchange in the reply and the log. */
  readonly requestId: string;
  readonly method: string;
  /** As they came, still percent-encoded. The query is without its `?`, empty for none. */
  readonly path: string;
  readonly query: string;
  /** By lower-case name; one that came more than once has its values joined by `, `. */
  readonly headers: Readonly<Record<string, string>>;
  /** At most BODY_MAX_BYTES; overwritten when the reply has been sent, so keep no part of it. */
  readonly body: Buffer;
}

export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Overwritten when it has been sent: it may hold a plaintext key, and must be no other's Buffer. */
  readonly body: Buffer;
}

export interface Protocol {
  /** A label of metrics and logs. */
  readonly name: string;
  recognises(request: FaceRequest): boolean;
  /** The operation asked for, one of a small closed set, and `unknown` for every other. Never fails. */
  operationOf(request: FaceRequest): string;
  /** The access key that signed. Fails in the protocol's own words, which `failure` understands. */
  authenticate(request: FaceRequest, keys: AccessKeys, nowMs: number): Promise<AccessKey>;
  /** Carries the request out. Fails with codes of the catalogue or in the protocol's own words. */
  handle(request: FaceRequest, caller: Caller): Promise<Reply>;
  /**
   * The reply that says what `error` is. It may be anything that was thrown here or by the listener, who adds to what
   * LocalKms fails with: KMS_THROTTLED (too many calls by this access key), KMS_ACCESS_DENIED (no right).
   */
  failure(error: unknown, request: FaceRequest): Reply;
}
