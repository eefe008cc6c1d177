/**
 * One copy of a LUKS2 header: 4096 bytes of binary header, big-endian, then the JSON area.
 *
 * The layout on disk stands in `AT` alone; in memory there is `Luks2Header`. Decoding goes in a fixed order: magic and
 * bounds, checksum, JSON text; nothing of a later step is looked at before the earlier ones hold. What the JSON means is
 * metadata.ts. Everything after the JSON text is zero, as cryptsetup demands too. Encoding draws a fresh salt, so that two
 * copies never have the same checksum. Source: LUKS2 On-Disk Format Specification 1.1.x, section 2 (binary header).
 */

import { createHash, randomBytes } from 'node:crypto';
import { fail } from '../errors.js';
import { isObject, type JsonObject, parseJson, printable, show } from './json.js';

export const BINARY_SIZE_BYTES = 4096;
/** Sizes of one copy, binary header and JSON area together. Each is also a place where a secondary copy may stand. */
export const HDR_SIZES_BYTES: readonly number[] = [16, 32, 64, 128, 256, 512, 1024, 2048, 4096].map(
  (kib) => kib * 1024,
);
export const HDR_SIZE_MAX_BYTES = 4096 * 1024;

/** The first bytes of each copy. */
export const MAGIC = {
  primary: Buffer.from('LUKS\xba\xbe', 'latin1'),
  secondary: Buffer.from('SKUL\xba\xbe', 'latin1'),
};
const VERSION = 2;
const CHECKSUM_ALGORITHM = 'sha256';
const CHECKSUM_SIZE_BYTES = 32;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** [offset, size] of each field in the binary header. */
const AT = {
  magic: [0, 6],
  version: [6, 2],
  hdrSize: [8, 8],
  seqid: [16, 8],
  label: [24, 48],
  checksumAlgorithm: [72, 32],
  salt: [104, 64],
  uuid: [168, 40],
  subsystem: [208, 48],
  hdrOffset: [256, 8],
  padding: [264, 184],
  checksum: [448, 64],
  padding4096: [512, 3584],
} as const satisfies Record<string, readonly [number, number]>;

export type Which = 'primary' | 'secondary';

export interface Segment {
  readonly type: 'crypt';
  /** Bytes, decimal. */
  readonly offset: string;
  readonly size: 'dynamic';
  readonly iv_tweak: '0';
  readonly encryption: 'aes-xts-plain64';
  readonly sector_size: 512 | 4096;
}

export interface Digest {
  readonly type: 'pbkdf2';
  readonly keyslots: readonly string[];
  readonly segments: readonly string[];
  readonly hash: 'sha256';
  readonly iterations: number;
  /** Base64 of 32 bytes. */
  readonly salt: string;
  /** Base64 of 32 bytes. */
  readonly digest: string;
}

export interface Config {
  /** Bytes, decimal. */
  readonly json_size: string;
  /** Bytes, decimal. */
  readonly keyslots_size: string;
  readonly flags?: readonly string[];
  readonly requirements?: { readonly mandatory: readonly string[] };
}

/** What the JSON area holds. Keyslots and foreign tokens are their owners': kept as they are. */
export interface Luks2Metadata {
  readonly keyslots: Readonly<Record<string, JsonObject>>;
  readonly tokens: Readonly<Record<string, JsonObject>>;
  readonly segments: { readonly '0': Segment };
  readonly digests: Readonly<Record<string, Digest>>;
  readonly config: Config;
}

export interface Luks2Header {
  /** Lower case, 36 characters. */
  readonly uuid: string;
  /** At most 47 bytes of UTF-8, as is `subsystem`. */
  readonly label: string;
  readonly subsystem: string;
  /** Grows by one with each write. */
  readonly seqid: bigint;
  /** One of HDR_SIZES_BYTES. */
  readonly hdrSizeBytes: number;
  readonly metadata: Luks2Metadata;
}

/** A copy whose bytes hold (bounds, checksum, JSON text); what its JSON means is not judged yet. */
export interface RawHeader extends Omit<Luks2Header, 'metadata'> {
  readonly json: JsonObject;
}

/** What a copy can be made of: a disk's header, or one whose JSON has another form. */
export type EncodableHeader = Omit<Luks2Header, 'metadata'> & { readonly metadata: object };

export interface Place {
  readonly which: Which;
  /** Where the copy stands in the file. */
  readonly offsetBytes: number;
  /** For error messages. */
  readonly path: string;
}

const field = (copy: Buffer, name: keyof typeof AT) => copy.subarray(AT[name][0], AT[name][0] + AT[name][1]);

/** Size of the copy whose first 4096 bytes are `binary`; fails with LUKS2_NOT_LUKS, _VERSION, _HEADER_SIZE, _HEADER_OFFSET. */
export function hdrSizeOf(binary: Buffer, place: Place): number {
  if (!field(binary, 'magic').equals(MAGIC[place.which])) fail('LUKS2_NOT_LUKS', { path: place.path });
  const version = binary.readUInt16BE(AT.version[0]);
  if (version !== VERSION) fail('LUKS2_VERSION', { found: version, expected: VERSION });
  const size = binary.readBigUInt64BE(AT.hdrSize[0]);
  const allowed = place.which === 'primary' ? HDR_SIZES_BYTES : [place.offsetBytes];
  if (!allowed.some((each) => BigInt(each) === size)) {
    fail('LUKS2_HEADER_SIZE', {
      found: size,
      expected: allowed.length === 1 ? place.offsetBytes : sizesShown,
    });
  }
  const offset = binary.readBigUInt64BE(AT.hdrOffset[0]);
  if (offset !== BigInt(place.offsetBytes)) {
    fail('LUKS2_HEADER_OFFSET', { found: offset, expected: place.offsetBytes });
  }
  return Number(size);
}

const sizesShown = 'a power of two from 16384 to 4194304';

/** `copy` is a whole copy, `hdrSizeOf` bytes long. Fails with the LUKS2_ code of the first thing that does not hold. */
export function decodeCopy(copy: Buffer, place: Place): RawHeader {
  const hdrSizeBytes = hdrSizeOf(copy, place);
  checkChecksum(copy, place.which);
  for (const name of ['padding', 'padding4096'] as const) {
    if (!isZero(field(copy, name))) {
      fail('LUKS2_FIELD', { field: 'binary header padding', found: 'in use', expected: 'zero' });
    }
  }
  const uuid = textOf(copy, 'uuid');
  if (!UUID.test(uuid))
    fail('LUKS2_FIELD', { field: 'uuid', found: show(uuid), expected: 'a lower-case UUID' });
  return {
    uuid,
    label: textOf(copy, 'label'),
    subsystem: textOf(copy, 'subsystem'),
    seqid: copy.readBigUInt64BE(AT.seqid[0]),
    hdrSizeBytes,
    json: jsonOf(copy.subarray(BINARY_SIZE_BYTES)),
  };
}

function checkChecksum(copy: Buffer, which: Which): void {
  const algorithm = textOf(copy, 'checksumAlgorithm');
  if (algorithm !== CHECKSUM_ALGORITHM) {
    fail('LUKS2_CHECKSUM_ALGORITHM', { found: printable(algorithm), expected: CHECKSUM_ALGORITHM });
  }
  const stored = field(copy, 'checksum');
  const right = stored.subarray(0, CHECKSUM_SIZE_BYTES).equals(checksumOf(copy));
  if (!right || !isZero(stored.subarray(CHECKSUM_SIZE_BYTES))) fail('LUKS2_CHECKSUM', { copies: which });
}

/** SHA-256 of the copy with its checksum field zero. */
export function checksumOf(copy: Buffer): Buffer {
  const [start, size] = AT.checksum;
  return createHash(CHECKSUM_ALGORITHM)
    .update(copy.subarray(0, start))
    .update(Buffer.alloc(size))
    .update(copy.subarray(start + size))
    .digest();
}

function textOf(copy: Buffer, name: 'label' | 'checksumAlgorithm' | 'uuid' | 'subsystem'): string {
  const bytes = field(copy, name);
  const end = bytes.indexOf(0);
  if (end < 0)
    fail('LUKS2_FIELD', { field: name, found: 'not terminated', expected: 'text and a zero byte' });
  const text = utf8(bytes.subarray(0, end));
  if (text === undefined) fail('LUKS2_FIELD', { field: name, found: 'other bytes', expected: 'UTF-8' });
  return text;
}

function utf8(bytes: Buffer): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

function jsonOf(area: Buffer): JsonObject {
  if (area[0] !== 0x7b) fail('LUKS2_JSON', { why: 'it does not begin with "{"' });
  const end = area.indexOf(0);
  if (end < 0) fail('LUKS2_JSON', { why: 'no zero byte ends it' });
  if (!isZero(area.subarray(end))) fail('LUKS2_JSON', { why: 'bytes after its end' });
  const text = utf8(area.subarray(0, end));
  if (text === undefined) fail('LUKS2_JSON', { why: 'it is not UTF-8' });
  const json = parseJson(text);
  return isObject(json) ? json : fail('LUKS2_JSON', { why: 'it is not an object' });
}

const ZEROS = Buffer.alloc(BINARY_SIZE_BYTES);

/** Block by block: an area can have 4 MiB. */
function isZero(bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; at += ZEROS.length) {
    const block = bytes.subarray(at, at + ZEROS.length);
    if (!block.equals(ZEROS.subarray(0, block.length))) return false;
  }
  return true;
}

/** The bytes of one copy, with a fresh salt; fails with LUKS2_JSON_FULL when the JSON does not fit. */
export function encodeCopy(header: EncodableHeader, which: Which): Buffer {
  const copy = Buffer.alloc(header.hdrSizeBytes);
  MAGIC[which].copy(copy);
  copy.writeUInt16BE(VERSION, AT.version[0]);
  copy.writeBigUInt64BE(BigInt(header.hdrSizeBytes), AT.hdrSize[0]);
  copy.writeBigUInt64BE(header.seqid, AT.seqid[0]);
  putText(copy, 'label', header.label);
  putText(copy, 'checksumAlgorithm', CHECKSUM_ALGORITHM);
  randomBytes(AT.salt[1]).copy(copy, AT.salt[0]);
  putText(copy, 'uuid', header.uuid);
  putText(copy, 'subsystem', header.subsystem);
  copy.writeBigUInt64BE(which === 'primary' ? 0n : BigInt(header.hdrSizeBytes), AT.hdrOffset[0]);
  putJson(copy.subarray(BINARY_SIZE_BYTES), header.metadata);
  return sealCopy(copy);
}

/** Makes the checksum right, in place. */
export function sealCopy(copy: Buffer): Buffer {
  field(copy, 'checksum').fill(0);
  checksumOf(copy).copy(copy, AT.checksum[0]);
  return copy;
}

function putText(
  copy: Buffer,
  name: 'label' | 'checksumAlgorithm' | 'uuid' | 'subsystem',
  text: string,
): void {
  const [start, size] = AT[name];
  const bytes = Buffer.from(text, 'utf8');
  if (bytes.length >= size || bytes.includes(0)) {
    fail('LUKS2_FIELD', {
      field: name,
      found: `${bytes.length} bytes`,
      expected: `text of at most ${size - 1}`,
    });
  }
  bytes.copy(copy, start);
}

function putJson(area: Buffer, metadata: object): void {
  const text = Buffer.from(JSON.stringify(metadata), 'utf8');
  if (text.length >= area.length) fail('LUKS2_JSON_FULL', { found: text.length + 1, expected: area.length });
  text.copy(area);
}
