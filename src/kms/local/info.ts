/**
 * What may be shown of a CMK: everything of its record but the material.
 */

import type { KeyDescription } from '../provider.js';
import type { KeyRecord } from './record.js';

export interface KeyInfo extends KeyDescription {
  readonly keyUri: string;
  readonly aliases: readonly string[];
  readonly spec: string;
  readonly origin: KeyRecord['origin'];
  readonly description: string;
  readonly createdAt: string;
  readonly deletionDate: string | null;
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
    origin: record.origin,
    description: record.description,
    createdAt: record.createdAt,
    deletionDate: record.deletionDate,
    primaryVersion: String(record.primaryVersion),
    versions: record.versions.map(({ version, createdAt }) => ({ version: String(version), createdAt })),
  };
}
