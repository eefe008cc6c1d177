/**
 * Who signed a request of Alibaba Cloud's protocol, by ACS3 or by RPC v1, or why nobody did.
 *
 * In this order: the signature is whole, its time is now, the access key is known, the body is the one that was signed,
 * the signature is right, a temporary key shows its token and has not ended, the nonce comes for the first time. By
 * which of the two a request is signed is told by its Authorization header: clients of RPC v1 send `x-acs-action` too.
 */

import { timingSafeEqual } from 'node:crypto';
import { ACS3, acs3Signature, hexHash, parseAcs3, rpcSignature } from '../../acs.js';
import type { AccessKey, AccessKeys } from '../../local/access-keys.js';
import type { FaceRequest } from '../protocol.js';
import { Replays } from '../replay.js';
import { invalid, missing, refuse } from './errors.js';
import { type Parameters, parametersOf, queryOf } from './parameters.js';

const SKEW_MS = 15 * 60_000;
const NONCE_MAX_CHARS = 256;
const DATE = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/;

/** What a request says of who signed it. */
interface Claim {
  readonly accessKeyId: string;
  readonly date: string;
  readonly nonce: string;
  readonly securityToken: string | undefined;
  /** Whether it is the signature of who has `secret`. */
  signedBy(secret: Uint8Array): boolean;
}

export const isAcs3 = ({ headers }: FaceRequest): boolean => (headers.authorization ?? '').startsWith(ACS3);

export class Authenticator {
  readonly #replays = new Replays(SKEW_MS);

  /** Fails with Alibaba's names for what is wrong with a signature. */
  async authenticate(request: FaceRequest, keys: AccessKeys, nowMs: number): Promise<AccessKey> {
    const claim = isAcs3(request) ? acs3Claim(request) : rpcClaim(request, parametersOf(request));
    const dateMs = checkDate(claim.date, nowMs);
    const key = await keys.find(claim.accessKeyId);
    if (key === undefined) {
      return refuse(404, 'InvalidAccessKeyId.NotFound', 'Specified access key is not found.');
    }
    if (!claim.signedBy(key.secret)) {
      refuse(
        400,
        'SignatureDoesNotMatch',
        'Specified signature is not matched with our calculation. Check the AccessKey secret and how it is signed.',
      );
    }
    checkToken(claim.securityToken, key, nowMs);
    if (!this.#replays.first(`${key.accessKeyId} ${claim.nonce}`, dateMs, nowMs)) {
      refuse(400, 'SignatureNonceUsed', 'Specified signature nonce was used already.');
    }
    return key;
  }
}

function acs3Claim(request: FaceRequest): Claim {
  const { method, path, query, headers, body } = request;
  const authorization = parseAcs3(headers.authorization ?? '');
  if (authorization === undefined) return incomplete(`Authorization is not a whole ${ACS3} signature`);
  const { accessKeyId, signedHeaders, signature } = authorization;
  const unsigned = Object.keys(headers).find(
    (name) => (name === 'host' || name.startsWith('x-acs-')) && !signedHeaders.includes(name),
  );
  if (unsigned !== undefined) return incomplete(`the header ${unsigned} is not signed`);
  const bodyHash = hexHash(body);
  if (headers['x-acs-content-sha256'] !== bodyHash) {
    refuse(400, 'SignatureDoesNotMatch', 'x-acs-content-sha256 is not the hash of the body.');
  }
  const pairs = queryOf(query);
  const signed = { method, path, query: pairs, headers, bodyHash };
  const given = Buffer.from(signature, 'hex');
  // Names that are signed as they are say one thing only, unless they hold what parts pairs.
  const mayBeBare = [...pairs.keys()].every((name) => !/[&=%]/.test(name));
  return {
    accessKeyId,
    date: headers['x-acs-date'] ?? '',
    nonce: nonceOf(headers['x-acs-signature-nonce'], 'x-acs-signature-nonce'),
    securityToken: headers['x-acs-security-token'],
    signedBy: (secret) =>
      same(given, acs3Signature(signed, signedHeaders, secret)) ||
      (mayBeBare && same(given, acs3Signature({ ...signed, bareNames: true }, signedHeaders, secret))),
  };
}

function rpcClaim({ method }: FaceRequest, parameters: Parameters): Claim {
  const need = (name: string): string => parameters.get(name) || missing(name);
  if (!parameters.has('Signature')) return incomplete('there is no signature');
  if (need('SignatureMethod') !== 'HMAC-SHA1') invalid('SignatureMethod');
  if (need('SignatureVersion') !== '1.0') invalid('SignatureVersion');
  const given = Buffer.from(need('Signature'), 'base64');
  return {
    accessKeyId: need('AccessKeyId'),
    date: parameters.get('Timestamp') ?? '',
    nonce: nonceOf(parameters.get('SignatureNonce'), 'SignatureNonce'),
    securityToken: parameters.get('SecurityToken'),
    signedBy: (secret) => same(given, rpcSignature(method, parameters, secret)),
  };
}

const incomplete = (why: string): never =>
  refuse(400, 'IncompleteSignature', `The request signature does not conform to standards: ${why}.`);

function nonceOf(nonce: string | undefined, name: string): string {
  if (nonce === undefined || nonce === '') return missing(name);
  return nonce.length <= NONCE_MAX_CHARS ? nonce : invalid(name);
}

function checkDate(date: string, nowMs: number): number {
  if (date === '') refuse(400, 'IllegalTimestamp', 'The input parameter "Timestamp" is not supplied.');
  const dateMs = DATE.test(date) ? Date.parse(date) : Number.NaN;
  if (Number.isNaN(dateMs)) {
    refuse(400, 'InvalidTimeStamp.Format', 'Specified time stamp is not YYYY-MM-DDThh:mm:ssZ.');
  }
  if (Math.abs(dateMs - nowMs) > SKEW_MS) {
    refuse(400, 'InvalidTimeStamp.Expired', 'Specified time stamp is more than 15 minutes from now.');
  }
  return dateMs;
}

/** A temporary access key shows its token beside the signature, until its end. */
function checkToken(token: string | undefined, key: AccessKey, nowMs: number): void {
  if (key.securityToken !== null && token === undefined) {
    refuse(400, 'MissingSecurityToken', 'SecurityToken is mandatory for this action.');
  }
  if (!same(Buffer.from(token ?? ''), Buffer.from(key.securityToken ?? ''))) {
    refuse(
      400,
      'InvalidSecurityToken.MismatchWithAccessKey',
      'The security token does not match the access key.',
    );
  }
  if (key.expiresAt !== null && Date.parse(key.expiresAt) <= nowMs) {
    refuse(400, 'InvalidSecurityToken.Expired', 'Specified SecurityToken is expired.');
  }
}

const same = (a: Buffer, b: Buffer): boolean => a.length === b.length && timingSafeEqual(a, b);
