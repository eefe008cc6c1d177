/**
 * What the JSON area of a header means, judged strictly: `parseMetadata` returns it typed, or refuses.
 *
 * It keeps true that the header describes exactly one thing that sealdisk serves: one aes-xts-plain64 segment from an
 * offset to the end of the file, whose key one pbkdf2-sha256 digest of full length proves. (cryptsetup takes any key for right
 * when the digest or its salt is short.) Keyslots are the owner's; they must only stay inside the keyslots area. Unknown
 * fields are refused, but for those of keyslots and foreign tokens.
 * Source: LUKS2 On-Disk Format Specification 1.1.x, section 3 (JSON area).
 */

import { fail } from '../errors.js';
import {
  BINARY_SIZE_BYTES,
  type Config,
  type Digest,
  type Luks2Header,
  type Luks2Metadata,
  type Segment,
} from './header.js';
import { isObject, type JsonObject, type JsonValue, printable, show } from './json.js';

export const CIPHER = 'aes-xts-plain64';
/** LUKS2's own persistent flag: `cryptsetup open` lets discards through to the file. */
export const ALLOW_DISCARDS = 'allow-discards';
export const DIGEST_SIZE_BYTES = 32;
export const DIGEST_SALT_SIZE_BYTES = 32;
/** The least that cryptsetup accepts; the most bounds the time that a hostile header can cost to some ten seconds. */
export const DIGEST_ITERATIONS_MIN = 1000;
export const DIGEST_ITERATIONS_MAX = 10_000_000;
/** Most objects of each kind, as in cryptsetup. */
export const OBJECTS_MAX = 32;
export const KEYSLOTS_SIZE_MAX_BYTES = 128n * 1024n * 1024n;

const OFFSET_MAX_BYTES = 2n ** 62n;
const BLOCK_BYTES = 4096n;

/** Byte offset of the segment and its sector size. */
export interface Geometry {
  readonly offsetBytes: bigint;
  readonly sectorSize: 512 | 4096;
}

export interface DigestValue {
  readonly salt: Buffer;
  readonly digest: Buffer;
  readonly iterations: number;
  readonly hash: 'sha256';
}

/** `json` as metadata of a header whose copies are `hdrSizeBytes` long; fails with the LUKS2_ code of what it found. */
export function parseMetadata(json: JsonObject, hdrSizeBytes: number): Luks2Metadata {
  onlyFields(json, 'JSON area', ['keyslots', 'tokens', 'segments', 'digests', 'config']);
  const config = checkConfig(objectAt(json, 'config', 'config'), hdrSizeBytes);
  const segment = checkSegments(objectAt(json, 'segments', 'segments'));
  const keyslots = checkKeyslots(objectsAt(json, 'keyslots'), hdrSizeBytes, BigInt(config.keyslots_size));
  const tokens = checkTokens(objectsAt(json, 'tokens'), keyslots);
  const digests = checkDigests(objectsAt(json, 'digests'), keyslots);
  checkLayout(segment, config, hdrSizeBytes);
  return { keyslots, tokens, segments: { '0': segment }, digests, config };
}

export function geometryOf(header: Luks2Header): Geometry {
  const segment = header.metadata.segments['0'];
  return { offsetBytes: BigInt(segment.offset), sectorSize: segment.sector_size };
}

export function digestOf(header: Luks2Header): DigestValue {
  const digest = digestRecordOf(header);
  return {
    salt: Buffer.from(digest.salt, 'base64'),
    digest: Buffer.from(digest.digest, 'base64'),
    iterations: digest.iterations,
    hash: digest.hash,
  };
}

/** The one digest, as it stands in the JSON. */
export function digestRecordOf(header: Luks2Header): Digest {
  const [digest] = Object.values(header.metadata.digests);
  return digest ?? fail('INTERNAL', { what: 'a header without a digest' });
}

function checkConfig(config: JsonObject, hdrSizeBytes: number): Config {
  onlyFields(config, 'config', ['json_size', 'keyslots_size', 'flags', 'requirements']);
  const jsonSize = decimalAt(config, 'json_size', 'config.json_size');
  if (jsonSize !== BigInt(hdrSizeBytes - BINARY_SIZE_BYTES)) {
    const expected = hdrSizeBytes - BINARY_SIZE_BYTES;
    fail('LUKS2_FIELD', { field: 'config.json_size', found: jsonSize, expected });
  }
  const keyslotsSize = decimalAt(config, 'keyslots_size', 'config.keyslots_size');
  if (keyslotsSize % BLOCK_BYTES !== 0n || keyslotsSize > KEYSLOTS_SIZE_MAX_BYTES) {
    const expected = `a multiple of ${BLOCK_BYTES}, at most ${KEYSLOTS_SIZE_MAX_BYTES}`;
    fail('LUKS2_FIELD', { field: 'config.keyslots_size', found: keyslotsSize, expected });
  }
  if ('flags' in config) textsAt(config, 'flags', 'config.flags');
  if ('requirements' in config) checkRequirements(objectAt(config, 'requirements', 'config.requirements'));
  return config as unknown as Config;
}

function checkRequirements(requirements: JsonObject): void {
  onlyFields(requirements, 'config.requirements', ['mandatory']);
  const [found] = textsAt(requirements, 'mandatory', 'config.requirements.mandatory');
  if (found !== undefined) fail('LUKS2_REQUIREMENT', { found: printable(found) });
}

function checkSegments(segments: JsonObject): Segment {
  const names = Object.keys(segments);
  if (names.length !== 1 || names[0] !== '0') {
    const found = names.length === 1 ? `one segment, ${show(names[0])}` : `${names.length} segments`;
    fail('LUKS2_SEGMENTS', { found, expected: 'one segment, "0"' });
  }
  const segment = objectAt(segments, '0', 'segment');
  literalAt(segment, 'type', 'segment.type', 'crypt');
  if (segment.encryption !== CIPHER)
    fail('LUKS2_CIPHER', { found: printable(segment.encryption), expected: CIPHER });
  if ('integrity' in segment) fail('LUKS2_CIPHER', { found: `${CIPHER} with integrity`, expected: CIPHER });
  onlyFields(segment, 'segment', ['type', 'offset', 'size', 'iv_tweak', 'encryption', 'sector_size']);
  if (segment.sector_size !== 512 && segment.sector_size !== 4096) {
    fail('LUKS2_SECTOR_SIZE', { found: show(segment.sector_size), expected: '512 or 4096' });
  }
  literalAt(segment, 'size', 'segment.size', 'dynamic');
  literalAt(segment, 'iv_tweak', 'segment.iv_tweak', '0');
  const offset = decimalAt(segment, 'offset', 'segment.offset');
  if (offset % BigInt(segment.sector_size) !== 0n) {
    const expected = `a multiple of ${segment.sector_size}`;
    fail('LUKS2_FIELD', { field: 'segment.offset', found: offset, expected });
  }
  return segment as unknown as Segment;
}

function checkKeyslots(
  keyslots: Record<string, JsonObject>,
  hdrSizeBytes: number,
  sizeBytes: bigint,
): Record<string, JsonObject> {
  const startBytes = 2n * BigInt(hdrSizeBytes);
  const endBytes = startBytes + sizeBytes;
  for (const [id, keyslot] of Object.entries(keyslots)) {
    textAt(keyslot, 'type', `keyslot ${id}.type`);
    const area = objectAt(keyslot, 'area', `keyslot ${id}.area`);
    const offset = decimalAt(area, 'offset', `keyslot ${id}.area.offset`);
    const size = decimalAt(area, 'size', `keyslot ${id}.area.size`);
    if (offset < startBytes || offset + size > endBytes) {
      const expected = `inside ${startBytes} to ${endBytes}`;
      fail('LUKS2_FITS', { what: `keyslot ${id} area`, found: `${offset} to ${offset + size}`, expected });
    }
  }
  return keyslots;
}

function checkTokens(
  tokens: Record<string, JsonObject>,
  keyslots: Record<string, JsonObject>,
): Record<string, JsonObject> {
  for (const [id, token] of Object.entries(tokens)) {
    textAt(token, 'type', `token ${id}.type`);
    checkKeyslotRefs(token, `token ${id}.keyslots`, keyslots);
  }
  return tokens;
}

function checkDigests(
  digests: Record<string, JsonObject>,
  keyslots: Record<string, JsonObject>,
): Record<string, Digest> {
  const count = Object.keys(digests).length;
  if (count !== 1) fail('LUKS2_DIGEST', { field: 'count', found: count, expected: 1 });
  for (const digest of Object.values(digests)) {
    onlyFields(digest, 'digest', ['type', 'keyslots', 'segments', 'hash', 'iterations', 'salt', 'digest']);
    digestLiteral(digest, 'type', 'pbkdf2');
    digestLiteral(digest, 'hash', 'sha256');
    const segments = textsAt(digest, 'segments', 'digest.segments');
    if (segments.length !== 1 || segments[0] !== '0') {
      fail('LUKS2_DIGEST', { field: 'segments', found: show(segments.join(',')), expected: '["0"]' });
    }
    checkIterations(digest.iterations);
    checkBytes(digest, 'salt', DIGEST_SALT_SIZE_BYTES);
    checkBytes(digest, 'digest', DIGEST_SIZE_BYTES);
    checkKeyslotRefs(digest, 'digest.keyslots', keyslots);
  }
  return digests as unknown as Record<string, Digest>;
}

function checkIterations(found: JsonValue | undefined): void {
  const whole = typeof found === 'number' && Number.isInteger(found);
  if (whole && found >= DIGEST_ITERATIONS_MIN && found <= DIGEST_ITERATIONS_MAX) return;
  const expected = `${DIGEST_ITERATIONS_MIN} to ${DIGEST_ITERATIONS_MAX}`;
  fail('LUKS2_DIGEST', { field: 'iterations', found: show(found), expected });
}

function checkBytes(digest: JsonObject, name: 'salt' | 'digest', sizeBytes: number): void {
  const bytes = bytesOf(digest[name]);
  if (bytes?.length === sizeBytes) return;
  const found = bytes === undefined ? show(digest[name]) : `${bytes.length} bytes`;
  fail('LUKS2_DIGEST', { field: name, found, expected: `${sizeBytes} bytes in base64` });
}

function digestLiteral(digest: JsonObject, name: string, expected: string): void {
  if (digest[name] !== expected) fail('LUKS2_DIGEST', { field: name, found: show(digest[name]), expected });
}

/** Headers, keyslots area and segment follow one another without overlap. */
function checkLayout(segment: Segment, config: Config, hdrSizeBytes: number): void {
  const offset = BigInt(segment.offset);
  const needed = 2n * BigInt(hdrSizeBytes) + BigInt(config.keyslots_size);
  if (offset < needed)
    fail('LUKS2_FITS', { what: 'segment.offset', found: offset, expected: `at least ${needed}` });
}

function checkKeyslotRefs(object: JsonObject, field: string, keyslots: Record<string, JsonObject>): void {
  for (const id of textsAt(object, 'keyslots', field)) {
    if (!Object.hasOwn(keyslots, id))
      fail('LUKS2_FIELD', { field, found: show(id), expected: 'ids of keyslots' });
  }
}

/** Bytes of canonical base64, undefined for anything else. */
export function bytesOf(value: JsonValue | undefined): Buffer | undefined {
  if (typeof value !== 'string') return undefined;
  const bytes = Buffer.from(value, 'base64');
  return bytes.toString('base64') === value ? bytes : undefined;
}

function onlyFields(object: JsonObject, what: string, known: readonly string[]): void {
  const unknown = Object.keys(object).find((name) => !known.includes(name));
  if (unknown === undefined) return;
  fail('LUKS2_FIELD', { field: `${what} field`, found: show(unknown), expected: known.join(', ') });
}

function objectAt(object: JsonObject, name: string, field: string): JsonObject {
  const value = object[name];
  return isObject(value) ? value : fail('LUKS2_FIELD', { field, found: show(value), expected: 'an object' });
}

/** The objects of one kind, under ids 0 to 31. */
function objectsAt(json: JsonObject, name: string): Record<string, JsonObject> {
  const objects = objectAt(json, name, name);
  for (const [id, value] of Object.entries(objects)) {
    if (!/^(0|[1-9][0-9]?)$/.test(id) || Number(id) >= OBJECTS_MAX) {
      fail('LUKS2_FIELD', { field: `${name} id`, found: show(id), expected: `0 to ${OBJECTS_MAX - 1}` });
    }
    if (!isObject(value)) {
      fail('LUKS2_FIELD', { field: `${name}.${id}`, found: show(value), expected: 'an object' });
    }
  }
  return objects as Record<string, JsonObject>;
}

function textAt(object: JsonObject, name: string, field: string): string {
  const value = object[name];
  return typeof value === 'string'
    ? value
    : fail('LUKS2_FIELD', { field, found: show(value), expected: 'text' });
}

function textsAt(object: JsonObject, name: string, field: string): string[] {
  const value = object[name];
  if (Array.isArray(value) && value.every((each) => typeof each === 'string')) return value as string[];
  return fail('LUKS2_FIELD', { field, found: show(value), expected: 'an array of text' });
}

function literalAt(object: JsonObject, name: string, field: string, expected: string): void {
  if (object[name] !== expected) fail('LUKS2_FIELD', { field, found: show(object[name]), expected });
}

/** Sizes and offsets are decimal strings, since JSON numbers are doubles to many readers. */
function decimalAt(object: JsonObject, name: string, field: string): bigint {
  const value = object[name];
  if (typeof value === 'string' && /^(0|[1-9][0-9]{0,18})$/.test(value)) {
    const number = BigInt(value);
    if (number <= OFFSET_MAX_BYTES) return number;
  }
  return fail('LUKS2_FIELD', { field, found: show(value), expected: 'bytes, as a decimal string' });
}
