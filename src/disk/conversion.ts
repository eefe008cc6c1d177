/**
 * The record of a conversion in the header of a file: read, proved, written.
 *
 * Kept true: a record is gone by only after the data key that is to stay has proved it; each one that is written is
 * judged as it will be read, and is on stable storage when the call returns. Callers hold the file (held.ts).
 */

import { randomBytes, timingSafeEqual } from 'node:crypto';
import { type DataKey, engine } from '../engine/engine.js';
import { fail, isFailure } from '../errors.js';
import {
  type Area,
  type Conversion,
  conversionMessage,
  decodeConversion,
  encodeConversion,
  type Former,
  type Found,
  isConverting,
  reencryptKeyslot,
} from '../luks2/conversion.js';
import { readRawHeader, writeHeader } from '../luks2/copies.js';
import type { Digest, Luks2Header, RawHeader, Segment } from '../luks2/header.js';
import { digestRecordOf } from '../luks2/metadata.js';
import { backupSegments, type Layout, serializedForProof } from '../luks2/reencrypt-segments.js';
import { decodeToken, encodeToken, tokenOf, withToken } from '../luks2/token.js';

const MAC_LABEL = 'sealdisk conversion';
/** How cryptsetup begins what it digests for its reencryption of this version. */
const PROOF_BEGIN = Buffer.from('v2', 'latin1');
const PROOF_ITERATIONS = 1000;
const PROOF_BYTES = 32;

/** The conversion that the header records; undefined where there is no LUKS2 header, or one without a conversion. */
export async function conversionOn(fd: number, path: string): Promise<Found | undefined> {
  let raw: RawHeader;
  try {
    raw = (await readRawHeader(fd, path)).header;
  } catch (error) {
    // A plain file, or a header that was cut while it was first written: in-place-start.ts tells them apart.
    if (isFailure(error) && error.group === 'refused') return undefined;
    throw error;
  }
  return isConverting(raw.json) ? decodeConversion(raw, path) : undefined;
}

/** CONVERT_FOREIGN when the key does not prove the record. */
export function proveConversion(conversion: Conversion, key: DataKey, path: string): void {
  const expected = key.hmac(MAC_LABEL, conversionMessage(conversion));
  if (!timingSafeEqual(expected, conversion.mac)) {
    fail('CONVERT_FOREIGN', { path, why: 'its record does not match the data key' });
  }
}

/** Writes the record with a MAC by `key`; the conversion as it is on disk then. */
export async function writeConversion(
  fd: number,
  path: string,
  conversion: Conversion,
  key: DataKey,
): Promise<Conversion> {
  const sealed = { ...conversion, mac: key.hmac(MAC_LABEL, conversionMessage(conversion)) };
  const { seqid } = await writeHeader(fd, path, encodeConversion(sealed), (raw) =>
    decodeConversion(raw, path),
  );
  return { ...sealed, final: { ...sealed.final, seqid } };
}

/** cryptsetup's proof of what stays the same; `keys`: the former one first. */
export function proofOf(layout: Layout, area: Area, segment: Segment, keys: readonly DataKey[]): Digest {
  const salt = randomBytes(PROOF_BYTES);
  const digest = engine().pbkdf2Sha256Of({
    before: PROOF_BEGIN,
    keys,
    after: serializedForProof(reencryptKeyslot({ layout, area }), backupSegments(layout, segment)),
    salt,
    iterations: PROOF_ITERATIONS,
    lengthBytes: PROOF_BYTES,
  });
  return {
    type: 'pbkdf2',
    keyslots: [],
    segments: [],
    hash: 'sha256',
    iterations: PROOF_ITERATIONS,
    salt: salt.toString('base64'),
    digest: digest.toString('base64'),
  };
}

/** Fields of a token that another data key gives other values. */
const FORMER_FIELDS = [
  'key_uri',
  'key_id',
  'key_version',
  'wrapped_key',
  'wrapped_for',
  'generation',
  'header_mac',
] as const;

/** What opens the disk as long as some of it is under its former data key. */
export function formerOf(header: Luks2Header): Former {
  const token = encodeToken(tokenOf(header));
  const fields = FORMER_FIELDS.flatMap((name) => (name in token ? [[name, token[name]]] : []));
  const [digestId] = Object.keys(header.metadata.digests) as [string];
  const { keyslots: _, segments: __, ...digest } = digestRecordOf(header);
  return { digestId, digest: { ...digest, keyslots: [], segments: [] }, token: Object.fromEntries(fields) };
}

/** The header as it was before the conversion: its key proves it as it proves a disk's. */
export function formerHeader({ final, former }: Conversion): Luks2Header {
  if (!former) return fail('INTERNAL', { what: 'a plain payload has no former header' });
  const token = encodeToken(tokenOf(final));
  for (const name of FORMER_FIELDS) delete token[name];
  const digests = { [former.digestId]: { ...former.digest, segments: ['0'] } };
  const metadata = { ...final.metadata, digests };
  return withToken({ ...final, metadata }, decodeToken({ ...token, ...former.token }));
}
