/**
 * Key material that its owner brings (BYOK): wrapped under a public key that we give out, for one key and for a day.
 *
 * The import token is the private half, sealed under the root key and bound to its key: nothing of an import is kept
 * here between its two steps. Once a key has had material it takes only the same again, so that what was wrapped opens.
 * Wrapping is RSA-OAEP (RFC 8017, 7.1) with SHA-1 or SHA-256.
 */

import { constants, createPrivateKey, createPublicKey, privateDecrypt, publicEncrypt } from 'node:crypto';
import { fail } from '../../errors.js';
import type { SecretBytes } from '../provider.js';
import { DAY_MS, decide, emptied } from './lifecycle.js';
import { type KeyRecord, label, markOf, sealVersion } from './record.js';
import { KEY_BYTES, seal, unsealSecret } from './seal.js';
import { allocSecret, consumeSecret, freeSecret } from './secret.js';
import { type ImportSpec, importPair, secretOf } from './specs.js';

const OAEP = constants.RSA_PKCS1_OAEP_PADDING;
const HASHES = { RSAES_OAEP_SHA_1: 'sha1', RSAES_OAEP_SHA_256: 'sha256' } as const;
export type ImportAlgorithm = keyof typeof HASHES;
export const IMPORT_ALGORITHMS = Object.keys(HASHES) as ImportAlgorithm[];
export const IMPORT_SPECS: readonly ImportSpec[] = ['RSA_2048', 'RSA_3072', 'RSA_4096'];

export interface ImportChoice {
  readonly algorithm: ImportAlgorithm;
  readonly spec: ImportSpec;
}

export interface ImportParameters {
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Buffer;
  readonly importToken: Buffer;
  readonly expiresAt: string;
}

export interface Import {
  readonly importToken: Buffer;
  /** The material under the public key. */
  readonly wrapped: Buffer;
  /** When the material ends; null for never. */
  readonly expiresAt: string | null;
}

const TOKEN_LIFE_MS = DAY_MS;
// In a token, before the private key: the end in ms, and the algorithm's place in IMPORT_ALGORITHMS.
const TOKEN_HEADER_BYTES = 9;
const tokenLabel = (keyId: string): Buffer => label('import token', keyId);

/** A public key for the material of `record`, and the token that comes back with it. */
export async function importParameters(
  record: KeyRecord,
  { algorithm, spec }: ImportChoice,
  nowMs: number,
  root: SecretBytes,
): Promise<ImportParameters> {
  decide(record, { kind: 'importParameters' }, nowMs);
  const { publicKey, privateKey } = await importPair(spec);
  const endMs = nowMs + TOKEN_LIFE_MS;
  const token = allocSecret(TOKEN_HEADER_BYTES + privateKey.length);
  try {
    token.writeBigUInt64BE(BigInt(endMs));
    token.writeUInt8(IMPORT_ALGORITHMS.indexOf(algorithm), 8);
    privateKey.copy(token, TOKEN_HEADER_BYTES);
    const importToken = seal(token, tokenLabel(record.keyId), root);
    return { publicKey, importToken, expiresAt: new Date(endMs).toISOString() };
  } finally {
    freeSecret(privateKey);
    freeSecret(token);
  }
}

/** `material` as importMaterial takes it, wrapped under the public key of `importParameters`: what its owner does. */
export function wrapForImport(publicKey: Buffer, algorithm: ImportAlgorithm, material: SecretBytes): Buffer {
  const key = createPublicKey({ key: publicKey, format: 'der', type: 'spki' });
  return publicEncrypt({ key, oaepHash: HASHES[algorithm], padding: OAEP }, material);
}

/**
 * The record with the material of `given`. Fails with KMS_IMPORT_TOKEN, KMS_IMPORT_EXPIRED, KMS_IMPORT_MATERIAL, or as
 * lifecycle.ts does.
 */
export function withImported(record: KeyRecord, given: Import, nowMs: number, root: SecretBytes): KeyRecord {
  const change = decide(record, { kind: 'importMaterial' }, nowMs);
  const { keyId, materialMark } = record;
  const keyUri = `local:${keyId}`;
  if (given.expiresAt !== null && !(Date.parse(given.expiresAt) > nowMs)) {
    fail('USAGE', { what: `the material's time ended at ${given.expiresAt} already` });
  }
  return consumeSecret(unwrapped(keyUri, keyId, given, nowMs, root), (material) => {
    if (material.length !== KEY_BYTES) {
      fail('KMS_IMPORT_MATERIAL', { keyUri, why: `it has ${material.length} bytes, expected ${KEY_BYTES}` });
    }
    const mark = markOf(keyId, material);
    if (materialMark !== null && mark !== materialMark) {
      fail('KMS_IMPORT_MATERIAL', { keyUri, why: 'it is not the material that this key had' });
    }
    const version = sealVersion(keyId, record.primaryVersion, new Date(nowMs).toISOString(), material, root);
    const versions = record.versions.map((each) => (each.version === version.version ? version : each));
    return { ...record, ...change, versions, materialExpiresAt: given.expiresAt, materialMark: mark };
  });
}

/** The record without its material. */
export function withoutMaterial(record: KeyRecord, nowMs: number): KeyRecord {
  const change = decide(record, { kind: 'deleteMaterial' }, nowMs);
  return { ...record, ...change, versions: emptied(record), materialExpiresAt: null };
}

function unwrapped(
  keyUri: string,
  keyId: string,
  { importToken, wrapped }: Import,
  nowMs: number,
  root: SecretBytes,
): SecretBytes {
  const token = unsealSecret(importToken, tokenLabel(keyId), root);
  if (!token) return fail('KMS_IMPORT_TOKEN', { keyUri });
  return consumeSecret(token, () => {
    const endMs = Number(token.readBigUInt64BE());
    if (nowMs > endMs) fail('KMS_IMPORT_EXPIRED', { keyUri, expired: new Date(endMs).toISOString() });
    const oaepHash = HASHES[IMPORT_ALGORITHMS[token.readUInt8(8)] as ImportAlgorithm];
    const key = createPrivateKey({ key: token.subarray(TOKEN_HEADER_BYTES), format: 'der', type: 'pkcs8' });
    try {
      return secretOf(privateDecrypt({ key, oaepHash, padding: OAEP }, wrapped));
    } catch (error) {
      return fail('KMS_IMPORT_MATERIAL', { keyUri, why: 'it does not unwrap with this token' }, error);
    }
  });
}
