/**
 * What every provider over a network says of the network: the failure that stands for an error of a socket, of TLS, of a
 * name, or for an HTTP status that any server, proxy or load balancer gives.
 *
 * Kept true: a line shows codes of Node and OpenSSL and HTTP statuses, never the text of an error or a reply, which may
 * hold what was sent. A status that only the KMS itself can mean (400, 403, 404) is left to its provider.
 */

import { SealdiskError } from '../errors.js';

/** By these Node tells that no connection was had or kept. */
const NETWORK = [
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENETDOWN',
  'EADDRNOTAVAIL',
  'EPROTO',
  'UND_ERR_SOCKET',
  'UND_ERR_CONNECT_TIMEOUT',
];
const RESOLVER = /^EAI_[A-Z]+$/;
/** By these it tells that what answered is not whom we asked, or speaks no TLS. */
const TLS = /^(CERT|CRL|UNABLE_TO|SELF_SIGNED|DEPTH_ZERO|ERR_TLS|ERR_SSL|ERR_OSSL)_[A-Z0-9_]+$/;
const TLS_ALSO = ['HOSTNAME_MISMATCH', 'INVALID_CA', 'INVALID_PURPOSE', 'PATH_LENGTH_EXCEEDED'];
/** By these its parsers tell that what answered is not HTTP. */
const NOT_HTTP = /^(HPE_[A-Z_]+|UND_ERR_(HEADERS_OVERFLOW|RES[A-Z_]+))$/;

const WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection closed by the other side',
  EPIPE: 'connection closed by the other side',
  ENOTFOUND: 'no such host name',
  EAI_AGAIN: 'no name server answers',
  EPROTO: 'TLS fails',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is signed by no CA that is trusted',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its certificate is signed by no CA that is trusted',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is signed by no CA that is trusted',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is signed by itself',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another name',
};

const isOfTransport = (code: string): boolean =>
  NETWORK.includes(code) || TLS_ALSO.includes(code) || RESOLVER.test(code) || TLS.test(code);

/** The failure that an error of the transport stands for, however wrapped; undefined for any other error. */
export function transportFailure(error: unknown, keyUri: string): SealdiskError | undefined {
  for (const code of codesOf(error)) {
    if (NOT_HTTP.test(code)) return new SealdiskError('KMS_BAD_REPLY', { keyUri, why: `no HTTP (${code})` });
    if (!isOfTransport(code)) continue;
    const why = code in WORDS ? `${WORDS[code]} (${code})` : code;
    return new SealdiskError('KMS_CONNECTION', { keyUri, why });
  }
  return undefined;
}

/** The failure that a status stands for whoever gave it; undefined where the KMS's own words decide. */
export function statusFailure(status: number, keyUri: string): SealdiskError | undefined {
  if (status === 429) return new SealdiskError('KMS_THROTTLED', { keyUri });
  if (status >= 500) return new SealdiskError('KMS_SERVER_ERROR', { keyUri, why: `HTTP ${status}` });
  if (status >= 300 && status < 400) {
    return new SealdiskError('KMS_BAD_REPLY', { keyUri, why: `it sends us elsewhere (HTTP ${status})` });
  }
  return undefined;
}

/** The codes of an error, its causes and its parts, outermost first. */
function codesOf(error: unknown, depth = 0): string[] {
  if (!(error instanceof Error) || depth > 5) return [];
  const { code, cause } = error as NodeJS.ErrnoException;
  const parts = error instanceof AggregateError ? error.errors : [];
  const own = typeof code === 'string' ? [code] : [];
  return [...own, ...[cause, ...parts].flatMap((each) => codesOf(each, depth + 1))];
}
