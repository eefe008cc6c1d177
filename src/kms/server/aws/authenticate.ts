/**
 * Who signed a request of AWS's protocol, or why nobody did.
 *
 * In this order: the header is whole, its scope and date are of now and here, the access key is known and has not ended,
 * the body is the one that was signed, the signature is right, and the request comes for the first time. Everything that
 * changes what a request means has to be signed: host, date, target, and every other x-amz- header.
 */

import { timingSafeEqual } from 'node:crypto';
import type { AccessKey, AccessKeys } from '../../local/access-keys.js';
import type { FaceRequest } from '../protocol.js';
import { Replays } from '../replay.js';
import { refuse } from './errors.js';
import {
  type Authorization,
  hexHash,
  parseAmzDate,
  parseAuthorization,
  type Signed,
  signatureOf,
  signingKey,
} from './sigv4.js';

const SKEW_MS = 5 * 60_000;
const SERVICE = 'kms';
/** Signing keys by access key, day and region; each is as secret as what it came from, so few are kept. */
const SIGNING_KEYS_MAX = 64;

export class Authenticator {
  readonly #replays = new Replays(SKEW_MS);
  readonly #signingKeys = new Map<string, { readonly of: AccessKey; readonly key: Buffer }>();

  /** `region`: the only one that a request may be signed for; undefined for any. */
  constructor(private readonly region: string | undefined) {}

  /** Fails with AWS's names for what is wrong with a signature. */
  async authenticate(request: FaceRequest, keys: AccessKeys, nowMs: number): Promise<AccessKey> {
    const authorization = this.#authorizationOf(request);
    const amzDate = request.headers['x-amz-date'] ?? '';
    const dateMs = checkDate(amzDate, authorization.date, nowMs);
    const key = await keys.find(authorization.accessKeyId);
    if (key === undefined) {
      return refuse('UnrecognizedClientException', 'The security token included in the request is invalid.');
    }
    this.#checkSignature(request, authorization, amzDate, key);
    checkToken(request, key, nowMs);
    this.#checkFirst(authorization, dateMs, nowMs);
    return key;
  }

  #authorizationOf({ headers }: FaceRequest): Authorization {
    if (headers.authorization === undefined) {
      refuse('MissingAuthenticationTokenException', 'Request is missing Authentication Token');
    }
    const authorization = parseAuthorization(headers.authorization);
    if (authorization === undefined) {
      return refuse(
        'IncompleteSignatureException',
        'Authorization is not a whole AWS4-HMAC-SHA256 signature',
      );
    }
    const { signedHeaders, service, region } = authorization;
    const missing = Object.keys(headers).find((name) => mustBeSigned(name) && !signedHeaders.includes(name));
    if (missing !== undefined) {
      refuse('InvalidSignatureException', `'${missing}' must be a signed header in the AWS Authorization.`);
    }
    if (service !== SERVICE) {
      refuse('InvalidSignatureException', `Credential should be scoped to correct service: '${SERVICE}'.`);
    }
    if (this.region !== undefined && region !== this.region) {
      refuse('InvalidSignatureException', `Credential should be scoped to a valid region, not '${region}'.`);
    }
    return authorization;
  }

  #checkSignature(request: FaceRequest, authorization: Authorization, amzDate: string, key: AccessKey): void {
    const { method, path, query, headers, body } = request;
    const bodyHash = hexHash(body);
    const claimed = headers['x-amz-content-sha256'];
    if (claimed !== undefined && claimed !== bodyHash) {
      refuse('InvalidSignatureException', 'x-amz-content-sha256 is not the hash of the body.');
    }
    const signed: Signed = { method, path, query, headers, bodyHash };
    const made = signatureOf(signed, amzDate, authorization, this.#signingKey(authorization, key));
    if (timingSafeEqual(made, Buffer.from(authorization.signature, 'hex'))) return;
    refuse(
      'InvalidSignatureException',
      'The request signature we calculated does not match the signature you provided. ' +
        'Check your AWS Secret Access Key and signing method.',
    );
  }

  #signingKey(authorization: Authorization, of: AccessKey): Buffer {
    const { accessKeyId, date, region } = authorization;
    const name = `${accessKeyId} ${date} ${region}`;
    const kept = this.#signingKeys.get(name);
    if (kept?.of === of) return kept.key;
    const key = signingKey(of.secret, authorization);
    this.#signingKeys.delete(name);
    this.#signingKeys.set(name, { of, key });
    const [oldest] = this.#signingKeys.keys();
    if (this.#signingKeys.size > SIGNING_KEYS_MAX && oldest !== undefined) this.#signingKeys.delete(oldest);
    return key;
  }

  /**
   * A signature has a grain of a second, so an honest client that names no attempt (amz-sdk-invocation-id) may make the
   * same one twice. It is told to slow down: signed in the next second it passes. Any other has been listened to.
   */
  #checkFirst({ signature, signedHeaders }: Authorization, dateMs: number, nowMs: number): void {
    if (this.#replays.first(signature, dateMs, nowMs)) return;
    if (signedHeaders.includes('amz-sdk-invocation-id')) {
      refuse('InvalidSignatureException', 'This request has been made already.');
    }
    refuse('ThrottlingException', 'This request has been made already; sign it anew.');
  }
}

const mustBeSigned = (name: string): boolean => name === 'host' || name.startsWith('x-amz-');

/** The words are AWS's own: its SDKs set their clocks by them and try again. */
function checkDate(amzDate: string, scopeDate: string, nowMs: number): number {
  const dateMs = parseAmzDate(amzDate);
  if (dateMs === undefined || !amzDate.startsWith(scopeDate)) {
    return refuse(
      'IncompleteSignatureException',
      'x-amz-date is missing, or is not of the day that is signed for.',
    );
  }
  const plain = (ms: number): string => new Date(ms).toISOString().replace(/[-:]|\.\d+/g, '');
  if (dateMs < nowMs - SKEW_MS) {
    const limit = `${plain(nowMs - SKEW_MS)} (${plain(nowMs)} - 5 min.)`;
    refuse('InvalidSignatureException', `Signature expired: ${amzDate} is now earlier than ${limit}`);
  }
  if (dateMs > nowMs + SKEW_MS) {
    const limit = `${plain(nowMs + SKEW_MS)} (${plain(nowMs)} + 5 min.)`;
    // The last words are for the AWS SDK for JavaScript: by them alone it sets its clock.
    const text = `Signature not yet current: ${amzDate} is still later than ${limit}`;
    refuse('InvalidSignatureException', `${text}. As with Signature expired, set the clock.`);
  }
  return dateMs;
}

/** A temporary access key shows its token beside the signature, until its end. */
function checkToken({ headers }: FaceRequest, key: AccessKey, nowMs: number): void {
  const token = headers['x-amz-security-token'];
  const right = Buffer.from(key.securityToken ?? '');
  const given = Buffer.from(token ?? '');
  const same = given.length === right.length && timingSafeEqual(given, right);
  if (!same || (token !== undefined && key.securityToken === null)) {
    refuse('UnrecognizedClientException', 'The security token included in the request is invalid.');
  }
  if (key.expiresAt !== null && Date.parse(key.expiresAt) <= nowMs) {
    refuse('ExpiredTokenException', 'The security token included in the request is expired');
  }
}
