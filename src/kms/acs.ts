/**
 * How a request to Alibaba Cloud is signed: pure functions over text and bytes. Our network face checks with them, the
 * `alikms:` provider signs with them, and both are tested against what the official SDKs send.
 *
 * ACS3-HMAC-SHA256 signs headers and the body's hash; RPC v1 (HMAC-SHA1), of older clients, signs the parameters.
 * Source: Alibaba Cloud, "V3 request body & signature method" and "V2 RPC-style signature".
 */

import { createHash, createHmac } from 'node:crypto';

export const ACS3 = 'ACS3-HMAC-SHA256';

export interface Acs3Authorization {
  readonly accessKeyId: string;
  /** Lower case, sorted. */
  readonly signedHeaders: readonly string[];
  /** 64 hex digits. */
  readonly signature: string;
}

/** What ACS3 signs; names and values are decoded. */
export interface Acs3Signed {
  readonly method: string;
  readonly path: string;
  readonly query: ReadonlyMap<string, string>;
  readonly headers: Readonly<Record<string, string>>;
  /** Hex SHA-256 of the body. */
  readonly bodyHash: string;
  /** Names of parameters signed as they are, not encoded: so the SDK for JavaScript does. */
  readonly bareNames?: boolean;
}

const CREDENTIAL = /^[\w.]{1,128}$/;
const HEADER_NAMES = /^[a-z0-9-]+(;[a-z0-9-]+)*$/;

export const hexHash = (bytes: Uint8Array | string): string =>
  createHash('sha256').update(bytes).digest('hex');

/** RFC 3986: everything but letters, digits and - _ . ~ as %XX. */
export const percentEncoded = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);

/** The pairs in the order of their names, encoded. */
export function canonicalQuery(pairs: ReadonlyMap<string, string>, nameOf = percentEncoded): string {
  return [...pairs.keys()]
    .sort()
    .map((name) => `${nameOf(name)}=${percentEncoded(pairs.get(name) ?? '')}`)
    .join('&');
}

/** Undefined when `header` is not of this scheme, or not whole. */
export function parseAcs3(header: string): Acs3Authorization | undefined {
  const [, scheme, rest = ''] = /^(\S+) +(.*)$/.exec(header.trim()) ?? [];
  if (scheme !== ACS3) return undefined;
  const fields = new Map(
    rest.split(',').map((part) => {
      const [name = '', ...value] = part.trim().split('=');
      return [name, value.join('=')];
    }),
  );
  const accessKeyId = fields.get('Credential') ?? '';
  const names = fields.get('SignedHeaders') ?? '';
  const signature = fields.get('Signature') ?? '';
  const whole = CREDENTIAL.test(accessKeyId) && HEADER_NAMES.test(names) && fields.size === 3;
  if (!whole || !/^[0-9a-f]{64}$/.test(signature)) return undefined;
  return { accessKeyId, signedHeaders: names.split(';'), signature };
}

export function acs3CanonicalRequest(signed: Acs3Signed, names: readonly string[]): string {
  const headers = names.map((name) => `${name}:${(signed.headers[name] ?? '').trim()}\n`).join('');
  const query = canonicalQuery(signed.query, signed.bareNames ? (name) => name : percentEncoded);
  return [signed.method, signed.path, query, headers, names.join(';'), signed.bodyHash].join('\n');
}

/** The signature of `signed` and of its headers `names`: 32 bytes. */
export function acs3Signature(signed: Acs3Signed, names: readonly string[], secret: Uint8Array): Buffer {
  const text = `${ACS3}\n${hexHash(acs3CanonicalRequest(signed, names))}`;
  return createHmac('sha256', secret).update(text).digest();
}

/** The RPC v1 signature of a request's parameters, all but `Signature`: 20 bytes. */
export function rpcSignature(
  method: string,
  parameters: ReadonlyMap<string, string>,
  secret: Uint8Array,
): Buffer {
  const signed = new Map(parameters);
  signed.delete('Signature');
  const text = `${method}&%2F&${percentEncoded(canonicalQuery(signed))}`;
  const key = Buffer.concat([secret, Buffer.from('&')]);
  try {
    return createHmac('sha1', key).update(text).digest();
  } finally {
    key.fill(0);
  }
}
