/**
 * What a request of AWS's JSON 1.1 says: its members, each taken with its type and bounds checked. What is missing or out
 * of bounds fails with ValidationException, what is of another type with SerializationException, as AWS does.
 *
 * Kept true: the text of a plaintext goes from the body's Buffer into secure memory, and is blank before the body is
 * parsed: no string of it comes into the V8 heap.
 */

import { freeSecret } from '../../local/secret.js';
import type { EncryptionContext, SecretBytes } from '../../provider.js';
import { takeText } from '../../secret-json.js';
import { invalid, refuse } from './errors.js';

const CONTEXT_MAX_BYTES = 8192;
const BLOB_TEXT = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

export class Input {
  readonly #members: Readonly<Record<string, unknown>>;

  /** Parses `body`. Fails with SerializationException. */
  constructor(body: Buffer) {
    let json: unknown;
    try {
      json = body.length === 0 ? {} : JSON.parse(body.toString('utf8'));
    } catch {
      refuse('SerializationException', 'The body is not JSON');
    }
    if (typeof json !== 'object' || json === null || Array.isArray(json)) {
      refuse('SerializationException', 'The body is not a JSON object');
    }
    this.#members = json as Record<string, unknown>;
  }

  /** Undefined when it is missing or null. */
  optionalText(name: string, maxChars = 8192): string | undefined {
    const value = this.#member(name);
    if (value === undefined) return undefined;
    if (typeof value !== 'string') return notA('string', name);
    return value.length <= maxChars ? value : invalid(`Value at '${name}' has length at most ${maxChars}`);
  }

  text(name: string, maxChars = 8192): string {
    const text = this.optionalText(name, maxChars);
    if (text === undefined) return missing(name);
    return text === '' ? invalid(`Value at '${name}' has length at least 1`) : text;
  }

  /** One of `known`. */
  optionalWord<W extends string>(name: string, known: readonly W[]): W | undefined {
    const text = this.optionalText(name);
    if (text === undefined) return undefined;
    const word = known.find((each) => each === text);
    return word ?? invalid(`Value at '${name}' must be one of [${known.join(', ')}]`);
  }

  optionalInteger(name: string, min: number, max: number): number | undefined {
    const value = this.#member(name);
    if (value === undefined) return undefined;
    if (typeof value !== 'number' || !Number.isInteger(value)) return notA('integer', name);
    return value >= min && value <= max ? value : invalid(`Value at '${name}' must be ${min} to ${max}`);
  }

  /** Milliseconds of a date in epoch seconds. */
  optionalDateMs(name: string): number | undefined {
    const value = this.#member(name);
    if (value === undefined) return undefined;
    return typeof value === 'number' && Math.abs(value) < 1e11
      ? Math.round(value * 1000)
      : notA('date', name);
  }

  flag(name: string): boolean {
    const value = this.#member(name) ?? false;
    return typeof value === 'boolean' ? value : notA('boolean', name);
  }

  blob(name: string, maxBytes: number): Buffer {
    const text = this.#member(name);
    if (text === undefined) return missing(name);
    if (typeof text !== 'string' || !BLOB_TEXT.test(text)) return notA('base64 blob', name);
    const bytes = Buffer.from(text, 'base64');
    if (bytes.length < 1 || bytes.length > maxBytes) {
      return invalid(`Value at '${name}' has length 1 to ${maxBytes}`);
    }
    return bytes;
  }

  /** A map of texts; empty when it is missing. */
  context(name: string): EncryptionContext {
    const value = this.#member(name) ?? {};
    if (typeof value !== 'object' || Array.isArray(value)) return notA('map', name);
    let bytes = 4;
    for (const [key, text] of Object.entries(value as object)) {
      if (typeof text !== 'string') return notA('map of strings', name);
      bytes += 8 + Buffer.byteLength(key) + Buffer.byteLength(text);
    }
    return bytes <= CONTEXT_MAX_BYTES
      ? (value as EncryptionContext)
      : invalid(`Value at '${name}' is too long`);
  }

  /** A list; empty when it is missing. */
  list(name: string): readonly unknown[] {
    const value = this.#member(name) ?? [];
    return Array.isArray(value) ? value : notA('list', name);
  }

  has(name: string): boolean {
    return this.#member(name) !== undefined;
  }

  #member(name: string): unknown {
    return Object.hasOwn(this.#members, name) ? (this.#members[name] ?? undefined) : undefined;
  }
}

const missing = (name: string): never => invalid(`Value null at '${name}' failed to satisfy: not null`);
const notA = (kind: string, name: string): never =>
  refuse('SerializationException', `Value at '${name}' is not a ${kind}`);

/**
 * Takes the base64 text of the member `name` out of `body`, before that is parsed: 1 to `maxBytes` bytes in secure
 * memory, the text blank.
 */
export function takePlaintext(body: Buffer, name: string, maxBytes: number): SecretBytes {
  const range = memberText(body, name);
  if (range === undefined) return missing(name);
  const text = body.subarray(...range);
  const textMaxBytes = 4 * Math.ceil(maxBytes / 3);
  if (text.length === 0 || text.length > textMaxBytes) {
    text.fill(0x20);
    return invalid(`Value at '${name}' has length 1 to ${maxBytes}`);
  }
  const secret = takeText(text, maxBytes + 2) ?? notA('base64 blob', name);
  if (secret.length <= maxBytes) return secret;
  freeSecret(secret);
  return invalid(`Value at '${name}' has length 1 to ${maxBytes}`);
}

/** Where the text of a member of the outermost object lies. Only its place: whether all is JSON the parser says later. */
function memberText(body: Buffer, name: string): [number, number] | undefined {
  let depth = 0;
  let key: string | undefined;
  for (let at = 0; at < body.length; at += 1) {
    const byte = body[at];
    if (byte === 0x7b || byte === 0x5b) depth += 1;
    else if (byte === 0x7d || byte === 0x5d) depth -= 1;
    else if (byte === 0x2c) key = undefined;
    else if (byte === 0x22) {
      const end = endOfText(body, at + 1);
      if (end === undefined) return undefined;
      if (depth === 1 && key === name) return [at + 1, end];
      if (depth === 1 && key === undefined) key = body.toString('latin1', at + 1, Math.min(end, at + 65));
      at = end;
    }
  }
  return undefined;
}

function endOfText(body: Buffer, from: number): number | undefined {
  for (let at = from; at < body.length; at += 1) {
    if (body[at] === 0x5c) at += 1;
    else if (body[at] === 0x22) return at;
  }
  return undefined;
}
