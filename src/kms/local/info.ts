/**
 * What may be shown of a CMK: everything of its record but the material.
 */

import type { KeyDescription } from '../provider.js';
import type { KeyRecord } from './record.js';
import { SYMMETRIC_SPEC } from './specs.js';

export interface KeyInfo extends KeyDescription {
  readonly keyUri: string;
  readonly aliases: readonly string[];
  readonly spec: string;
  readonly usage: 'ENCRYPT_DECRYPT' | 'SIGN_VERIFY';
  readonly origin: KeyRecord['origin'];
  readonly description: string;
  readonly createdAt: string;
  readonly deletionDate: string | null;
  readonly deletionProtection: boolean;
  readonly tags: Readonly<Record<string, string>>;
  readonly rotation: KeyRecord['rotation'];
  readonly materialExpiresAt: string | null;
  readonly primaryVersion: string;
  readonly versions: readonly { readonly version: string; readonly createdAt: string }[];
}

export function infoOf(record: KeyRecord, aliases: readonly string[]): KeyInfo {
  return {
    keyId: record.keyId,
    keyUri: `local:${record.keyId}`,
    aliases,
    state: record.state,
    serviceKey: record.serviceKey,
    spec: record.spec,
    usage: record.spec === SYMMETRIC_SPEC ? 'ENCRYPT_DECRYPT' : 'SIGN_VERIFY',
    origin: record.origin,
    description: record.description,
    createdAt: record.createdAt,
    deletionDate: record.deletionDate,
    deletionProtection: record.deletionProtection,
    tags: record.tags,
    rotation: record.rotation,
    materialExpiresAt: record.materialExpiresAt,
    primaryVersion: String(record.primaryVersion),
    versions: record.versions.map(({ version, createdAt }) => ({ version: String(version), createdAt })),
  };
}
