/**
 * The record of one CMK, and its codec.
 *
 * A record file is one box (seal.ts) of JSON. The key material of each version is a box of its own inside that JSON,
 * so that opening a record to look at its state brings no key byte into the V8 heap; `openMaterial` opens one into
 * secure memory. Both boxes bind the key id, the inner one also the version.
 * `generation` grows by one with each write of the record.
 */

import sodium from 'sodium-native';
import { fail } from '../../errors.js';
import type { KeyState, SecretBytes } from '../provider.js';
import { KEY_BYTES, seal, unsealPlain, unsealSecret } from './seal.js';
import { allocSecret, freeSecret } from './secret.js';

/** The one spec that can wrap data keys. Records of other specs are refused for use. */
export const SYMMETRIC_SPEC = 'AES_256';

export interface KeyVersion {
  readonly version: number;
  readonly createdAt: string;
  /** Box of 32 bytes of key material, base64; null while a key waits for an import. */
  readonly material: string | null;
}

export interface KeyRecord {
  readonly format: 1;
  readonly keyId: string;
  readonly generation: number;
  readonly spec: string;
  /** Where the material came from: made here, or imported. */
  readonly origin: 'kms' | 'external';
  readonly serviceKey: boolean;
  readonly description: string;
  readonly createdAt: string;
  readonly state: KeyState;
  /** When the key may be destroyed, for a key pending deletion. */
  readonly deletionDate: string | null;
  readonly primaryVersion: number;
  readonly versions: readonly KeyVersion[];
}

const label = (...parts: string[]): Buffer => Buffer.from(['sealdisk kms 1', ...parts].join('\0'));
const recordLabel = (keyId: string): Buffer => label('key', keyId);
const materialLabel = (keyId: string, version: number): Buffer => label('material', keyId, String(version));
const ALIASES_LABEL = label('aliases');

/** A version of fresh random material, sealed under the root key. */
export function makeVersion(
  keyId: string,
  version: number,
  createdAt: string,
  root: SecretBytes,
): KeyVersion {
  const material = allocSecret(KEY_BYTES);
  try {
    sodium.randombytes_buf(material);
    const box = seal(material, materialLabel(keyId, version), root);
    return { version, createdAt, material: box.toString('base64') };
  } finally {
    freeSecret(material);
  }
}

/** The material of one version in secure memory; undefined when the record has no such version. */
export function openMaterial(
  record: KeyRecord,
  version: number,
  root: SecretBytes,
  path: string,
): SecretBytes | undefined {
  const entry = record.versions.find((v) => v.version === version);
  if (!entry?.material) return undefined;
  const box = Buffer.from(entry.material, 'base64');
  const material = unsealSecret(box, materialLabel(record.keyId, version), root);
  if (material?.length !== KEY_BYTES) {
    freeSecret(material);
    fail('KMS_STORE_ALTERED', { path });
  }
  return material;
}

export function encodeRecord(record: KeyRecord, root: SecretBytes): Buffer {
  return seal(Buffer.from(JSON.stringify(record)), recordLabel(record.keyId), root);
}

/** Fails with KMS_STORE_ALTERED, also when the file is the sealed record of another key. */
export function decodeRecord(box: Buffer, keyId: string, root: SecretBytes, path: string): KeyRecord {
  const plain = unsealPlain(box, recordLabel(keyId), root);
  if (!plain) fail('KMS_STORE_ALTERED', { path });
  const record = JSON.parse(plain.toString()) as KeyRecord;
  if (record.format !== 1) {
    fail('KMS_STORE', { path, why: `its format is ${record.format}, expected 1` });
  }
  return record;
}

/** Alias to key id. */
export type AliasTable = ReadonlyMap<string, string>;

export function encodeAliases(aliases: AliasTable, generation: number, root: SecretBytes): Buffer {
  const plain = JSON.stringify({ format: 1, generation, aliases: [...aliases] });
  return seal(Buffer.from(plain), ALIASES_LABEL, root);
}

export function decodeAliases(
  box: Buffer,
  root: SecretBytes,
  path: string,
): { aliases: AliasTable; generation: number } {
  const plain = unsealPlain(box, ALIASES_LABEL, root);
  if (!plain) fail('KMS_STORE_ALTERED', { path });
  const table = JSON.parse(plain.toString()) as {
    format: number;
    generation: number;
    aliases: [string, string][];
  };
  if (table.format !== 1) fail('KMS_STORE', { path, why: `its format is ${table.format}, expected 1` });
  return { aliases: new Map(table.aliases), generation: table.generation };
}

/** The box of any other file; it binds the file's `name`, its path in the folder. */
export const encodeSealed = (plain: Buffer, name: string, root: SecretBytes): Buffer =>
  seal(plain, label('file', name), root);

/** Fails with KMS_STORE_ALTERED, also when the file is another one's. */
export const decodeSealed = (box: Buffer, name: string, root: SecretBytes, path: string): Buffer =>
  unsealPlain(box, label('file', name), root) ?? fail('KMS_STORE_ALTERED', { path });
