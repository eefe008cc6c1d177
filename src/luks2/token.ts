/**
 * The LUKS2 token `sealdisk-kms`: which key wraps the data key of this disk, and what the disk is.
 *
 * A header has exactly one. It binds to no keyslot. Every field is bounded and unknown fields are refused: what is added to
 * the format raises `version`. `headerMac` (mac.ts) proves the rest of the header, `object`, `holes` and `generation`; the
 * KMS proves `wrappedKey`; the other fields are for people and are proved by nothing, so nothing that matters is decided
 * by them.
 */

import { fail } from '../errors.js';
import type { Luks2Header } from './header.js';
import { isObject, type JsonObject, type JsonValue, show } from './json.js';
import {
  decodeLabel,
  encodeLabel,
  LABEL_FIELDS,
  type Label,
  onlyFields,
  refuse,
  text,
  UUID,
} from './label.js';
import { bytesOf, OBJECTS_MAX } from './metadata.js';

export const TOKEN_TYPE = 'sealdisk-kms';
export const TOKEN_VERSION = 1;
export const HEADER_MAC_SIZE_BYTES = 32;
export const KEY_URI_MAX_BYTES = 1024;
export const KEY_ID_MAX_BYTES = 512;
/** AWS KMS needs some 230 bytes, an RSA-4096 wrapping 512; the JSON area of 12 KiB bounds what makes sense. */
export const WRAPPED_KEY_MAX_BYTES = 4096;

export interface SealdiskToken extends Label {
  readonly version: 1;
  readonly keyUri: string;
  /** The KMS's own immutable id of the key that wrapped, and of its version. */
  readonly keyId: string;
  readonly keyVersion: string;
  readonly wrappedKey: Buffer;
  /** UUID that `wrappedKey` is bound to: of the object that this one has its data key from. Empty: the header's own. */
  readonly wrappedFor: string;
  /** A sector whose ciphertext is all zero bytes reads as zeros. Part of `headerMac`. */
  readonly holes: boolean;
  /** Grows by one with each header that sealdisk writes; 0 at birth. Part of `headerMac`. */
  readonly generation: number;
  /** 32 bytes. */
  readonly headerMac: Buffer;
}

/** The token of the header; fails with LUKS2_TOKEN_MISSING, or LUKS2_TOKEN for what does not hold. */
export function tokenOf(header: Luks2Header): SealdiskToken {
  const found = Object.values(header.metadata.tokens).filter((token) => token.type === TOKEN_TYPE);
  const [token] = found;
  if (token === undefined) fail('LUKS2_TOKEN_MISSING', { uuid: header.uuid });
  if (found.length > 1) refuse('count', String(found.length), '1');
  return decodeToken(token);
}

/** The generation that the JSON of a header claims; 0 where nothing that is one stands there. */
export function generationIn(json: JsonObject): number {
  const tokens = isObject(json.tokens) ? Object.values(json.tokens).filter(isObject) : [];
  const found = tokens.find((token) => token.type === TOKEN_TYPE)?.generation;
  return typeof found === 'number' ? found : 0;
}

/** The header with `token` in the place of its own, or as a new one. */
export function withToken(header: Luks2Header, token: SealdiskToken): Luks2Header {
  const tokens = header.metadata.tokens;
  const own = Object.keys(tokens).find((id) => tokens[id]?.type === TOKEN_TYPE) ?? freeId(tokens);
  const metadata = { ...header.metadata, tokens: { ...tokens, [own]: encodeToken(token) } };
  return { ...header, metadata };
}

function freeId(tokens: Readonly<Record<string, JsonObject>>): string {
  for (let id = 0; id < OBJECTS_MAX; id++) if (!(id in tokens)) return String(id);
  return fail('LUKS2_FIELD', { field: 'tokens', found: OBJECTS_MAX, expected: `at most ${OBJECTS_MAX - 1}` });
}

/** The JSON of a token; a token that `decodeToken` would refuse is refused here too. */
export function encodeToken(token: SealdiskToken): JsonObject {
  const json: JsonObject = {
    type: TOKEN_TYPE,
    keyslots: [],
    version: token.version,
    key_uri: token.keyUri,
    key_id: token.keyId,
    key_version: token.keyVersion,
    wrapped_key: token.wrappedKey.toString('base64'),
    ...(token.wrappedFor ? { wrapped_for: token.wrappedFor } : {}),
    ...encodeLabel(token),
    ...(token.holes ? { holes: true } : {}),
    ...(token.generation > 0 ? { generation: token.generation } : {}),
    header_mac: token.headerMac.toString('base64'),
  };
  decodeToken(json);
  return json;
}

const FIELDS = [
  'type',
  'keyslots',
  'version',
  'key_uri',
  'key_id',
  'key_version',
  'wrapped_key',
  'wrapped_for',
  ...LABEL_FIELDS,
  'holes',
  'generation',
  'header_mac',
];

export function decodeToken(json: JsonObject): SealdiskToken {
  if (json.version !== TOKEN_VERSION) refuse('version', show(json.version), String(TOKEN_VERSION));
  onlyFields(json, '', FIELDS);
  if (!Array.isArray(json.keyslots) || json.keyslots.length !== 0) {
    refuse('keyslots', show(json.keyslots), 'an empty array');
  }
  return {
    version: TOKEN_VERSION,
    keyUri: text(json, 'key_uri', 1, KEY_URI_MAX_BYTES),
    keyId: text(json, 'key_id', 1, KEY_ID_MAX_BYTES),
    keyVersion: text(json, 'key_version', 1, KEY_ID_MAX_BYTES),
    wrappedKey: bytes(json, 'wrapped_key', 1, WRAPPED_KEY_MAX_BYTES),
    wrappedFor: decodeWrappedFor(json.wrapped_for),
    ...decodeLabel(json),
    holes: decodeHoles(json.holes),
    generation: decodeGeneration(json.generation),
    headerMac: bytes(json, 'header_mac', HEADER_MAC_SIZE_BYTES, HEADER_MAC_SIZE_BYTES),
  };
}

function decodeWrappedFor(json: JsonValue | undefined): string {
  if (json === undefined) return '';
  if (typeof json === 'string' && UUID.test(json)) return json;
  return refuse('wrapped_for', show(json), 'a UUID, or no such field');
}

/** One spelling of each value: what is false or 0 is left out. */
function decodeHoles(json: JsonValue | undefined): boolean {
  if (json !== undefined && json !== true) refuse('holes', show(json), 'true, or no such field');
  return json === true;
}

function decodeGeneration(json: JsonValue | undefined): number {
  if (json === undefined) return 0;
  const whole = typeof json === 'number' && Number.isSafeInteger(json) && json > 0;
  return whole ? json : refuse('generation', show(json), 'a whole number above 0, or no such field');
}

function bytes(json: JsonObject, field: string, minBytes: number, maxBytes: number): Buffer {
  const value = bytesOf(json[field]);
  if (value === undefined) return refuse(field, show(json[field]), 'base64');
  if (value.length < minBytes || value.length > maxBytes) {
    const expected = minBytes === maxBytes ? `${minBytes}` : `${minBytes} to ${maxBytes}`;
    return refuse(field, `${value.length} bytes`, expected);
  }
  return value;
}
