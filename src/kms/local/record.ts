/**
 * The record of one CMK, and its codec.
 *
 * A record file is one box (seal.ts) of JSON. The key material of each version is a box of its own inside that JSON,
 * so that opening a record to look at its state brings no key byte into the V8 heap; `openMaterial` opens one into
 * secure memory. Both boxes bind the key id, the inner one also the version.
 * `generation` grows by one with each write of the record; a record that was never written has 0.
 */

import sodium from 'sodium-native';
import { fail } from '../../errors.js';
import type { KeyState, SecretBytes } from '../provider.js';
import { KEY_BYTES, seal, unsealPlain, unsealSecret } from './seal.js';
import { consumeSecret, freeSecret } from './secret.js';

export interface KeyVersion {
  readonly version: number;
  readonly createdAt: string;
  /** Box of the key material, base64; null while a key waits for an import. */
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
  /** As it was written; lifecycle.ts says what it is by the clock. */
  readonly state: KeyState;
  /** When the key is destroyed, for a key pending deletion. */
  readonly deletionDate: string | null;
  readonly deletionProtection: boolean;
  readonly primaryVersion: number;
  readonly versions: readonly KeyVersion[];
  /** Every alias that names this key, and perhaps some that no longer do: alias.ts. */
  readonly aliases: readonly string[];
  readonly tags: Readonly<Record<string, string>>;
  readonly rotation: { readonly periodDays: number; readonly nextAt: string } | null;
  /** When imported material ends; null for never. */
  readonly materialExpiresAt: string | null;
  /** Tells imported material from other, so that only the same is taken again; base64. */
  readonly materialMark: string | null;
}

/** The additional data of a box, by the kind of what it holds and its names. */
export const label = (...parts: string[]): Buffer => Buffer.from(['sealdisk kms 1', ...parts].join('\0'));
const recordLabel = (keyId: string): Buffer => label('key', keyId);
const materialLabel = (keyId: string, version: number): Buffer => label('material', keyId, String(version));

/** A version of `material`, sealed under the root key. */
export function sealVersion(
  keyId: string,
  version: number,
  createdAt: string,
  material: SecretBytes,
  root: SecretBytes,
): KeyVersion {
  const box = seal(material, materialLabel(keyId, version), root);
  return { version, createdAt, material: box.toString('base64') };
}

/** What tells the material of a key from other. */
export function markOf(keyId: string, material: SecretBytes): string {
  const mark = Buffer.alloc(32);
  sodium.crypto_generichash_batch(mark, [label('mark', keyId), material]);
  return mark.toString('base64');
}

/** The symmetric material of one version in secure memory; undefined when the record has none. */
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

/** The record with every box inside it sealed under `to` instead of `from`. A box that is added to records is added here. */
export function resealRecord(record: KeyRecord, from: SecretBytes, to: SecretBytes, path: string): KeyRecord {
  const versions = record.versions.map((entry) => {
    if (!entry.material) return entry;
    const bound = materialLabel(record.keyId, entry.version);
    const material = unsealSecret(Buffer.from(entry.material, 'base64'), bound, from);
    if (!material) return fail('KMS_STORE_ALTERED', { path });
    const box = consumeSecret(material, () => seal(material, bound, to));
    return { ...entry, material: box.toString('base64') };
  });
  return { ...record, versions };
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

/** The box of any other file; it binds the file's `name`, its path in the folder. */
export const encodeSealed = (plain: Buffer, name: string, root: SecretBytes): Buffer =>
  seal(plain, label('file', name), root);

/** Fails with KMS_STORE_ALTERED, also when the file is another one's. */
export const decodeSealed = (box: Buffer, name: string, root: SecretBytes, path: string): Buffer =>
  unsealPlain(box, label('file', name), root) ?? fail('KMS_STORE_ALTERED', { path });
