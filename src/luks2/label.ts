/**
 * What an object is, for people and for the pool: its kind and id, name, tags, source and birth.
 *
 * Every field is bounded, and what is printed holds no control characters. In an encrypted object it is part of the token
 * (token.ts), in a plain one it stands by itself.
 */

import { fail } from '../errors.js';
import { isObject, type JsonObject, type JsonValue, printable, show } from './json.js';

export const OBJECT_ID_MAX_BYTES = 128;
export const NAME_MAX_BYTES = 255;
export const TAGS_MAX = 50;
export const TAG_KEY_MAX_BYTES = 128;
export const TAG_VALUE_MAX_BYTES = 256;

/** As sealdisk and cryptsetup write one. */
export const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export const KINDS = ['disk', 'snapshot', 'image'] as const;
export type ObjectKind = (typeof KINDS)[number];

const PREFIX: Readonly<Record<ObjectKind, string>> = { disk: 'd-', snapshot: 's-', image: 'm-' };
const ID_DIGITS = 20;

/** The id of the object that has this UUID: `d-`, `s-` or `m-`, and its first 20 hexadecimal digits. */
export const objectIdOf = (kind: ObjectKind, uuid: string): string =>
  `${PREFIX[kind]}${uuid.replaceAll('-', '').slice(0, ID_DIGITS)}`;

export interface Label {
  readonly object: { readonly kind: ObjectKind; readonly id: string };
  /** What people call it; may be empty. */
  readonly name: string;
  /** Id of what it was made from; empty when it was made from nothing. */
  readonly source: string;
  /** ISO 8601 in UTC with milliseconds, as Date.prototype.toISOString writes it. */
  readonly createdAt: string;
  readonly tags: Readonly<Record<string, string>>;
}

export const LABEL_FIELDS = ['object', 'name', 'source', 'created_at', 'tags'];

export const encodeLabel = ({ object, name, source, createdAt, tags }: Label): JsonObject => ({
  object: { kind: object.kind, id: object.id },
  name,
  source,
  created_at: createdAt,
  tags: { ...tags },
});

/** Takes the label's fields out of `json`, which may have others; LUKS2_TOKEN for what does not hold. */
export const decodeLabel = (json: JsonObject): Label => ({
  object: decodeObject(json.object),
  name: text(json, 'name', 0, NAME_MAX_BYTES),
  source: text(json, 'source', 0, OBJECT_ID_MAX_BYTES),
  createdAt: decodeTime(json),
  tags: decodeTags(json.tags),
});

function decodeObject(json: JsonValue | undefined): Label['object'] {
  if (!isObject(json)) return refuse('object', show(json), 'an object');
  onlyFields(json, 'object.', ['kind', 'id']);
  const kind = KINDS.find((each) => each === json.kind);
  if (kind === undefined) return refuse('object.kind', show(json.kind), KINDS.join(', '));
  return { kind, id: checkText('object.id', json.id, 1, OBJECT_ID_MAX_BYTES) };
}

function decodeTime(json: JsonObject): string {
  const found = json.created_at;
  const time = typeof found === 'string' ? new Date(found) : undefined;
  if (time === undefined || Number.isNaN(time.getTime()) || time.toISOString() !== found) {
    return refuse('created_at', show(found), 'a time as 2026-01-31T12:00:00.000Z');
  }
  return found;
}

function decodeTags(json: JsonValue | undefined): Record<string, string> {
  if (!isObject(json)) return refuse('tags', show(json), 'an object');
  const entries = Object.entries(json);
  if (entries.length > TAGS_MAX) refuse('tags', `${entries.length} tags`, `at most ${TAGS_MAX}`);
  const tags: Record<string, string> = {};
  for (const [key, value] of entries) {
    checkText('tag key', key, 1, TAG_KEY_MAX_BYTES);
    if (key === '__proto__') refuse('tag key', show(key), 'another name');
    tags[key] = checkText(`tag ${show(key)}`, value, 0, TAG_VALUE_MAX_BYTES);
  }
  return tags;
}

export const text = (json: JsonObject, field: string, minBytes: number, maxBytes: number) =>
  checkText(field, json[field], minBytes, maxBytes);

/** Text of bounded length without control characters, so that it can be printed. */
function checkText(field: string, found: JsonValue | undefined, minBytes: number, maxBytes: number): string {
  if (typeof found !== 'string') return refuse(field, show(found), 'text');
  const sizeBytes = Buffer.byteLength(found);
  if (sizeBytes < minBytes || sizeBytes > maxBytes) {
    return refuse(field, `${sizeBytes} bytes long`, `${minBytes} to ${maxBytes}`);
  }
  if (/\p{Cc}|\p{Cs}/u.test(found)) return refuse(field, show(found), 'text without control characters');
  return found;
}

export function onlyFields(json: JsonObject, prefix: string, known: readonly string[]): void {
  const unknown = Object.keys(json).find((name) => !known.includes(name));
  if (unknown !== undefined) refuse(`${prefix}${printable(unknown)}`, 'present', 'unknown to this version');
}

export function refuse(field: string, found: string, expected: string): never {
  fail('LUKS2_TOKEN', { field, found, expected });
}
