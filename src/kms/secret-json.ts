/**
 * A secret in a line of JSON, without a JavaScript string of it: strings lie in the V8 heap, where nobody can wipe them.
 *
 * Kept true: the secret goes from secure memory to base64 in a Buffer, and back, byte by byte. A Buffer that held it is
 * overwritten by whoever is done with it; `takeSecret` overwrites what it has taken.
 */

import { allocSecret, freeSecret } from './local/secret.js';
import type { SecretBytes } from './provider.js';

const ALPHABET = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/');
const VALUE_OF = new Int8Array(256).fill(-1);
for (const [value, byte] of ALPHABET.entries()) VALUE_OF[byte] = value;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const SLASH = 0x2f;
const EQUALS = 0x3d;
const SPACE = 0x20;

/** JSON of `fields` and, under `name`, `secret` in base64, followed by `end`. The caller overwrites it when it is sent. */
export function jsonWithSecret(
  fields: Readonly<Record<string, unknown>>,
  name: string,
  secret: Uint8Array,
  end = '',
): Buffer {
  const head = Buffer.from(`${JSON.stringify({ ...fields, [name]: '' }).slice(0, -2)}`);
  const tail = Buffer.from(`"}${end}`);
  const textBytes = Math.ceil(secret.length / 3) * 4;
  const json = Buffer.alloc(head.length + textBytes + tail.length);
  head.copy(json);
  encode(secret, json, head.length);
  tail.copy(json, head.length + textBytes);
  return json;
}

function encode(bytes: Uint8Array, into: Buffer, at: number): void {
  for (let i = 0, to = at; i < bytes.length; i += 3, to += 4) {
    const [a = 0, b, c] = [bytes[i], bytes[i + 1], bytes[i + 2]];
    into[to] = ALPHABET[a >> 2] as number;
    into[to + 1] = ALPHABET[((a & 3) << 4) | ((b ?? 0) >> 4)] as number;
    into[to + 2] = b === undefined ? EQUALS : (ALPHABET[((b & 15) << 2) | ((c ?? 0) >> 6)] as number);
    into[to + 3] = c === undefined ? EQUALS : (ALPHABET[c & 63] as number);
  }
}

/**
 * Takes the base64 text of the first field `name` out of the JSON in `json`: its bytes in secure memory, its place blank.
 * Undefined where there is none, or it is not base64 of 1 to `maxBytes` bytes.
 */
export function takeSecret(json: Buffer, name: string, maxBytes: number): SecretBytes | undefined {
  const range = textOf(json, name);
  return range && takeText(json.subarray(...range), maxBytes);
}

/** As `takeSecret`, of the base64 text itself, which is blank afterwards. */
export function takeText(text: Buffer, maxBytes: number): SecretBytes | undefined {
  try {
    return decode(text, maxBytes);
  } finally {
    text.fill(SPACE);
  }
}

/** Where the text of the field is, without its quotes. */
function textOf(json: Buffer, name: string): [number, number] | undefined {
  const key = `"${name}"`;
  const found = json.indexOf(key);
  if (found < 0) return undefined;
  let at = skipSpace(json, found + key.length);
  if (json[at] !== 0x3a) return undefined;
  at = skipSpace(json, at + 1);
  if (json[at] !== QUOTE) return undefined;
  const end = json.indexOf(QUOTE, at + 1);
  return end < 0 ? undefined : [at + 1, end];
}

function skipSpace(json: Buffer, from: number): number {
  let at = from;
  while ([SPACE, 0x09, 0x0a, 0x0d].includes(json[at] ?? -1)) at += 1;
  return at;
}

/** Strict base64, but for the backslash that some writers put before a slash. */
function decode(text: Buffer, maxBytes: number): SecretBytes | undefined {
  const clean = allocSecret(Math.max(1, text.length));
  let length = 0;
  for (const [i, byte] of text.entries()) {
    if (byte === BACKSLASH && text[i + 1] === SLASH) continue;
    clean[length++] = byte;
  }
  try {
    return decodeQuads(clean.subarray(0, length), maxBytes);
  } finally {
    freeSecret(clean);
  }
}

function decodeQuads(text: Buffer, maxBytes: number): SecretBytes | undefined {
  const pads = text.at(-1) !== EQUALS ? 0 : text.at(-2) !== EQUALS ? 1 : 2;
  const sizeBytes = (text.length / 4) * 3 - pads;
  if (text.length === 0 || text.length % 4 !== 0 || sizeBytes > maxBytes) return undefined;
  const digits = text.subarray(0, text.length - pads);
  if (digits.some((byte) => (VALUE_OF[byte] ?? -1) < 0)) return undefined;
  const secret = allocSecret(sizeBytes);
  let bits = 0;
  let held = 0;
  let to = 0;
  for (const byte of digits) {
    held = ((held << 6) | (VALUE_OF[byte] as number)) & 0xffff;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    secret[to++] = (held >> bits) & 0xff;
  }
  return secret;
}
