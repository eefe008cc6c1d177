/**
 * A conversion that is under way, as a LUKS2 header records it: encryption in place, or another data key.
 *
 * The form is LUKS2's own (requirement, reencrypt keyslot, segments with flags, backup segments), so that cryptsetup shows
 * it and, with a keyslot, finishes it. What sealdisk adds is one token: the state in its own words, what is needed to go
 * on, and a MAC by the data key that is to stay. A header is decoded by encoding what its token says: whatever is another
 * than sealdisk would have written is refused, and nothing is recovered on the word of an unproved header
 * (CVE-2021-4122). The header that is to stay (`final`) is whole in it, `header_mac` included.
 * Source: LUKS2 On-Disk Format Specification 1.1.x; cryptsetup 2.6.1, whose lib/luks2 gives the digest's serialized form.
 */

import { isDeepStrictEqual } from 'node:util';
import { fail } from '../errors.js';
import type { Digest, Luks2Header, RawHeader } from './header.js';
import { isObject, type JsonObject } from './json.js';
import { canonicalJson } from './mac.js';
import { bytesOf, OBJECTS_MAX, parseMetadata } from './metadata.js';
import { activeSegments, backupSegments, type Layout } from './reencrypt-segments.js';

export const CONVERSION_TOKEN = 'sealdisk-conversion';
export const REENCRYPT_REQUIREMENT = 'online-reencrypt-v2';
const MAC_BYTES = 32;

/** Where in the keyslots area the reencryption has its room: for LUKS2's sake, or for its journal. */
export interface Area {
  readonly offsetBytes: bigint;
  readonly sizeBytes: bigint;
}

/** What opened the disk before: fields of its token, as they stand in JSON, and the digest of that data key. */
export interface Former {
  readonly digestId: string;
  readonly digest: Digest;
  readonly token: JsonObject;
}

export interface Conversion {
  /** The header that is to stay; its sequence id is that of the header on disk. */
  readonly final: Luks2Header;
  readonly layout: Layout;
  /** Length of the plain file before; of no meaning for another data key. */
  readonly originalBytes: bigint;
  readonly area: Area;
  /** cryptsetup's proof of what does not change: the digest over keys, keyslot and backup segments. */
  readonly proof: Digest;
  readonly former?: Former;
  /** 32 bytes. */
  readonly mac: Buffer;
}

/** A header of another form than a disk's: `metadata` is not what `parseMetadata` takes. */
export type ConvertingHeader = Omit<Luks2Header, 'metadata'> & { readonly metadata: JsonObject };

/** Encrypted from the end on, down to 0; under another key from the beginning on, up to the end. */
export const isComplete = ({ kind, boundaryBytes, payloadBytes }: Layout): boolean =>
  kind === 'encrypt' ? boundaryBytes === 0n : boundaryBytes === payloadBytes;

/** Bytes that are done. */
export const doneBytes = ({ kind, boundaryBytes, payloadBytes }: Layout): bigint =>
  kind === 'encrypt' ? payloadBytes - boundaryBytes : boundaryBytes;

/** True for a header that a conversion left something in, of sealdisk's. */
export const isConverting = (json: JsonObject): boolean => conversionTokenId(json) !== undefined;

function conversionTokenId({ tokens }: JsonObject): string | undefined {
  if (!isObject(tokens)) return undefined;
  return Object.entries(tokens).find(([, token]) => isObject(token) && token.type === CONVERSION_TOKEN)?.[0];
}

/** The header as it stands on disk: complete, it is the final one and the token. */
export function encodeConversion(conversion: Conversion): ConvertingHeader {
  const { final, layout } = conversion;
  const metadata = JSON.parse(JSON.stringify(final.metadata)) as JsonObject;
  const tokens = metadata.tokens as JsonObject;
  tokens[freeId(tokens)] = encodeToken(conversion);
  if (isComplete(layout)) return { ...final, metadata };
  const keyslots = metadata.keyslots as JsonObject;
  const keyslotId = freeId(keyslots);
  keyslots[keyslotId] = reencryptKeyslot(conversion);
  const segment = final.metadata.segments['0'];
  const active = activeSegments(layout, segment);
  const all = [...active, ...backupSegments(layout, segment)];
  metadata.segments = Object.fromEntries(all.map(({ json }, id) => [id, json]));
  metadata.digests = encodeDigests(conversion, keyslotId, all);
  (metadata.config as JsonObject).requirements = { mandatory: [REENCRYPT_REQUIREMENT] };
  return { ...final, metadata };
}

/** The reencrypt keyslot: no key, but mode, direction and its room. */
export function reencryptKeyslot({ layout, area }: Pick<Conversion, 'layout' | 'area'>): JsonObject {
  const encrypts = layout.kind === 'encrypt';
  return {
    type: 'reencrypt',
    key_size: 1,
    mode: encrypts ? 'encrypt' : 'reencrypt',
    direction: encrypts ? 'backward' : 'forward',
    priority: 0,
    area: {
      type: encrypts ? 'datashift' : 'journal',
      offset: `${area.offsetBytes}`,
      size: `${area.sizeBytes}`,
      ...(encrypts ? { shift_size: `${layout.shiftBytes}` } : {}),
    },
  };
}

type Owned = ReturnType<typeof activeSegments>[number];

function encodeDigests(conversion: Conversion, keyslotId: string, all: readonly Owned[]): JsonObject {
  const { final, former, proof } = conversion;
  const of = (owner: Owned['owner']) => all.flatMap((one, id) => (one.owner === owner ? [`${id}`] : []));
  const [finalId, digest] = Object.entries(final.metadata.digests)[0] as [string, Digest];
  const digests: JsonObject = { [finalId]: { ...digest, segments: of('new') } as unknown as JsonObject };
  if (former) digests[former.digestId] = { ...former.digest, segments: of('old') } as unknown as JsonObject;
  digests[freeId(digests)] = { ...proof, keyslots: [keyslotId], segments: [] } as unknown as JsonObject;
  return digests;
}

function encodeToken({ layout, originalBytes, former, mac, area, proof }: Conversion): JsonObject {
  return {
    type: CONVERSION_TOKEN,
    keyslots: [],
    version: 1,
    kind: layout.kind,
    original_bytes: `${originalBytes}`,
    payload_bytes: `${layout.payloadBytes}`,
    boundary_bytes: `${layout.boundaryBytes}`,
    hot_bytes: `${layout.hotBytes}`,
    shift_bytes: `${layout.shiftBytes}`,
    area: { offset: `${area.offsetBytes}`, size: `${area.sizeBytes}` },
    proof: { iterations: proof.iterations, salt: proof.salt, digest: proof.digest },
    ...(former
      ? { former: { digest_id: former.digestId, digest: plainDigest(former.digest), token: former.token } }
      : {}),
    mac: mac.toString('base64'),
  };
}

const plainDigest = ({ type, hash, iterations, salt, digest }: Digest): JsonObject => ({
  type,
  hash,
  iterations,
  salt,
  digest,
});

export type Found =
  /** As sealdisk left it; its MAC is not proved yet. */
  | { readonly kind: 'ours'; readonly conversion: Conversion }
  /** Another program finished it: the final header, and the token that is left. */
  | { readonly kind: 'finished'; readonly final: Luks2Header };

/** What a header with a conversion token records. CONVERT_FOREIGN when it is not what sealdisk left; LUKS2_* of the rest. */
export function decodeConversion(raw: RawHeader, path: string): Found {
  const { json, ...rest } = raw;
  const id = conversionTokenId(json) as string;
  const token = (json.tokens as JsonObject)[id] as JsonObject;
  const bare = { ...json, tokens: without(json.tokens as JsonObject, id) };
  const foreign = (why: string): never => fail('CONVERT_FOREIGN', { path, why });
  const layout = layoutOf(token) ?? foreign('its token is none of this version');
  const config = json.config;
  if (!isObject(config)) return foreign('it has no config');
  if (config.requirements === undefined && !isComplete(layout)) {
    return { kind: 'finished', final: { ...rest, metadata: parseMetadata(bare, raw.hdrSizeBytes) } };
  }
  const finalJson = isComplete(layout) ? bare : finalOf(bare);
  if (finalJson === undefined) return foreign('its segments are not those of a conversion');
  const final = { ...rest, metadata: parseMetadata(finalJson, raw.hdrSizeBytes) };
  const conversion = conversionOf(token, final, layout) ?? foreign('its token is none of this version');
  if (!isDeepStrictEqual(plain(encodeConversion(conversion).metadata), plain(json))) {
    return foreign('its segments are not where sealdisk left them');
  }
  return { kind: 'ours', conversion };
}

/** CONVERT_UNFINISHED, or CONVERT_FOREIGN, for a header with a conversion token. */
export function refuseConverting(raw: RawHeader, path: string): never {
  const found = decodeConversion(raw, path);
  if (found.kind === 'finished') {
    return fail('CONVERT_UNFINISHED', {
      path,
      what: 'a conversion, which another program ended',
      percent: 100,
    });
  }
  const { layout } = found.conversion;
  const what = layout.kind === 'encrypt' ? 'its encryption' : 'the change of its data key';
  const percent = Number((doneBytes(layout) * 100n) / layout.payloadBytes);
  return fail('CONVERT_UNFINISHED', { path, what, percent });
}

/** Objects with a prototype, for a comparison that looks at it. */
const plain = (json: JsonObject): unknown => JSON.parse(JSON.stringify(json));

const without = (object: JsonObject, id: string): JsonObject =>
  Object.fromEntries(Object.entries(object).filter(([key]) => key !== id));

/** The JSON of the header that is to stay, out of one that is converting; undefined where a part of it is missing. */
function finalOf({ keyslots, segments, digests, ...rest }: JsonObject): JsonObject | undefined {
  if (!isObject(keyslots) || !isObject(segments) || !isObject(digests) || !isObject(rest.config))
    return undefined;
  const [segmentId, segment] =
    Object.entries(segments).find(([, one]) => isObject(one) && hasFlag(one, 'backup-final')) ?? [];
  const [digestId, digest] =
    Object.entries(digests).find(([, one]) => isObject(one) && hasText(one.segments, segmentId)) ?? [];
  const [keyslotId] =
    Object.entries(keyslots).find(([, one]) => isObject(one) && one.type === 'reencrypt') ?? [];
  if (!isObject(segment) || !isObject(digest) || digestId === undefined || keyslotId === undefined)
    return undefined;
  return {
    ...rest,
    keyslots: without(keyslots, keyslotId),
    segments: { 0: without(segment, 'flags') },
    digests: { [digestId]: { ...digest, segments: ['0'] } },
    config: without(rest.config, 'requirements'),
  };
}

const hasFlag = (segment: JsonObject, flag: string): boolean => hasText(segment.flags, flag);
const hasText = (list: unknown, text: string | undefined): boolean =>
  Array.isArray(list) && text !== undefined && list.includes(text);

function layoutOf(token: JsonObject): Layout | undefined {
  const bytes = (name: string) => decimal(token[name]);
  const [payloadBytes, boundaryBytes, hotBytes, shiftBytes] = [
    bytes('payload_bytes'),
    bytes('boundary_bytes'),
    bytes('hot_bytes'),
    bytes('shift_bytes'),
  ];
  if (payloadBytes === undefined || boundaryBytes === undefined) return undefined;
  if (hotBytes === undefined || shiftBytes === undefined || boundaryBytes + hotBytes > payloadBytes)
    return undefined;
  const { kind } = token;
  if (token.version !== 1 || (kind !== 'encrypt' && kind !== 'rekey')) return undefined;
  return { kind, payloadBytes, boundaryBytes, hotBytes, shiftBytes };
}

function decimal(value: unknown): bigint | undefined {
  return typeof value === 'string' && /^(0|[1-9][0-9]{0,18})$/.test(value) ? BigInt(value) : undefined;
}

function conversionOf(token: JsonObject, final: Luks2Header, layout: Layout): Conversion | undefined {
  const { area, proof, former } = token;
  const mac = bytesOf(token.mac);
  const originalBytes = decimal(token.original_bytes);
  if (!isObject(area) || !isObject(proof) || mac?.length !== MAC_BYTES || originalBytes === undefined)
    return undefined;
  const [offsetBytes, sizeBytes] = [decimal(area.offset), decimal(area.size)];
  if (offsetBytes === undefined || sizeBytes === undefined) return undefined;
  const base = { type: 'pbkdf2', hash: 'sha256', keyslots: [], segments: [] };
  const was = former === undefined ? {} : formerOf(former);
  if (was === undefined) return undefined;
  return {
    final,
    layout,
    originalBytes,
    area: { offsetBytes, sizeBytes },
    proof: { ...base, ...proof } as unknown as Digest,
    ...was,
    mac,
  };
}

function formerOf(former: unknown): { former: Former } | undefined {
  if (!isObject(former as JsonObject)) return undefined;
  const { digest_id: digestId, digest, token } = former as JsonObject;
  if (typeof digestId !== 'string' || !isObject(digest) || !isObject(token)) return undefined;
  return {
    former: { digestId, digest: { ...digest, keyslots: [], segments: [] } as unknown as Digest, token },
  };
}

/** What the conversion's MAC is over: everything that decides which bytes are read and written under which key. */
export function conversionMessage(conversion: Conversion): Buffer {
  const { metadata, uuid } = encodeConversion({ ...conversion, mac: Buffer.alloc(0) });
  const { segments, digests, config, tokens } = metadata as Record<string, JsonObject>;
  const token = (tokens as JsonObject)[conversionTokenId(metadata) as string];
  const shown = Object.values(digests as JsonObject).map((one) => without(one as JsonObject, 'keyslots'));
  const requirements = (config as JsonObject).requirements ?? {};
  const message = {
    uuid,
    segments,
    digests: shown,
    requirements,
    token,
    keyslot: reencryptKeyslot(conversion),
  };
  return Buffer.from(canonicalJson(message as unknown as Parameters<typeof canonicalJson>[0]), 'utf8');
}

function freeId(objects: JsonObject): string {
  for (let id = 0; id < OBJECTS_MAX; id++) if (!(id in objects)) return String(id);
  return fail('LUKS2_FIELD', {
    field: 'objects',
    found: OBJECTS_MAX,
    expected: `at most ${OBJECTS_MAX - 1}`,
  });
}
