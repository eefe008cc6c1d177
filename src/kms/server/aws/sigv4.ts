/**
 * Signature version 4 of AWS, as it stands in a request's headers: pure functions over text and bytes.
 * Source: AWS, "Create a signed AWS API request" (SigV4 with the Authorization header).
 */

import { createHash, createHmac } from 'node:crypto';

export interface Authorization {
  readonly accessKeyId: string;
  /** YYYYMMDD. */
  readonly date: string;
  readonly region: string;
  readonly service: string;
  /** Lower case, sorted. */
  readonly signedHeaders: readonly string[];
  /** 64 hex digits. */
  readonly signature: string;
}

export interface Signed {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Hex SHA-256 of the body. */
  readonly bodyHash: string;
}

const ALGORITHM = 'AWS4-HMAC-SHA256';
const CREDENTIAL = /^([\w.]{1,128})\/(\d{8})\/([a-z0-9-]{1,64})\/([a-z0-9-]{1,64})\/aws4_request$/;
const HEADER_NAMES = /^[a-z0-9-]+(;[a-z0-9-]+)*$/;
const AMZ_DATE = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/;

/** Undefined when `header` is not of this scheme, or not whole. */
export function parseAuthorization(header: string): Authorization | undefined {
  const [scheme, rest = ''] = split(header.trim(), ' ');
  if (scheme !== ALGORITHM) return undefined;
  const fields = new Map(rest.split(',').map((part) => split(part.trim(), '=')));
  const [, accessKeyId, date, region, service] = CREDENTIAL.exec(fields.get('Credential') ?? '') ?? [];
  const names = fields.get('SignedHeaders') ?? '';
  const signature = fields.get('Signature') ?? '';
  const whole = accessKeyId && date && region && service && fields.size === 3;
  if (!whole || !HEADER_NAMES.test(names) || !/^[0-9a-f]{64}$/.test(signature)) return undefined;
  return { accessKeyId, date, region, service, signedHeaders: names.split(';'), signature };
}

function split(text: string, at: string): [string, string] {
  const index = text.indexOf(at);
  return index < 0 ? [text, ''] : [text.slice(0, index), text.slice(index + 1)];
}

/** Milliseconds of YYYYMMDDTHHMMSSZ; undefined for what is no such date. */
export function parseAmzDate(text: string): number | undefined {
  const [, year, month, day, hour, minute, second] = AMZ_DATE.exec(text) ?? [];
  if (year === undefined) return undefined;
  const ms = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  return Number.isNaN(ms) ? undefined : ms;
}

export const hexHash = (bytes: Uint8Array | string): string =>
  createHash('sha256').update(bytes).digest('hex');

export function canonicalRequest(signed: Signed, names: readonly string[]): string {
  const headers = names.map((name) => `${name}:${(signed.headers[name] ?? '').trim().replace(/ +/g, ' ')}\n`);
  const path = encodeURI(signed.path); // encoded once more than on the wire; `/` is what KMS has
  return [
    signed.method,
    path,
    canonicalQuery(signed.query),
    headers.join(''),
    names.join(';'),
    signed.bodyHash,
  ].join('\n');
}

function canonicalQuery(query: string): string {
  const pairs = query === '' ? [] : query.split('&').map((pair) => split(pair, '='));
  return pairs
    .sort(([a, x], [b, y]) => (a < b || (a === b && x < y) ? -1 : 1))
    .map(([name, value]) => `${name}=${value}`)
    .join('&');
}

const hmac = (key: Uint8Array, text: string): Buffer => createHmac('sha256', key).update(text).digest();

/** The key that signs a day's requests to one service of one region. */
export function signingKey(
  secret: Uint8Array,
  { date, region, service }: Pick<Authorization, 'date' | 'region' | 'service'>,
): Buffer {
  const start = Buffer.concat([Buffer.from('AWS4'), secret]);
  try {
    return hmac(hmac(hmac(hmac(start, date), region), service), 'aws4_request');
  } finally {
    start.fill(0);
  }
}

/** The signature of `signed`, made at `amzDate`: 32 bytes. */
export function signatureOf(
  signed: Signed,
  amzDate: string,
  authorization: Pick<Authorization, 'date' | 'region' | 'service' | 'signedHeaders'>,
  key: Uint8Array,
): Buffer {
  const { date, region, service, signedHeaders } = authorization;
  const scope = `${date}/${region}/${service}/aws4_request`;
  const text = `${ALGORITHM}\n${amzDate}\n${scope}\n${hexHash(canonicalRequest(signed, signedHeaders))}`;
  return hmac(key, text);
}
