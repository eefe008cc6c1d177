/** A key as AWS describes it: KeyMetadata. */

import type { KeyInfo } from '../../local/info.js';
import type { KeyState } from '../../provider.js';
import { epochSeconds } from './call.js';
import { ACCOUNT, type Names } from './names.js';

export const STATES: Readonly<Record<KeyState, string>> = {
  enabled: 'Enabled',
  disabled: 'Disabled',
  pendingDeletion: 'PendingDeletion',
  pendingImport: 'PendingImport',
};

/** AWS's spec for one of ours, and back. */
export const SPECS = {
  SYMMETRIC_DEFAULT: 'AES_256',
  RSA_2048: 'RSA_2048',
  RSA_3072: 'RSA_3072',
  RSA_4096: 'RSA_4096',
  ECC_NIST_P256: 'EC_P256',
  ECC_NIST_P384: 'EC_P384',
} as const;

const specOf = (spec: string): string =>
  Object.entries(SPECS).find(([, ours]) => ours === spec)?.[0] ?? 'SYMMETRIC_DEFAULT';

export function metadataOf(key: KeyInfo, names: Names): Record<string, unknown> {
  const spec = specOf(key.spec);
  const external = key.origin === 'external';
  return {
    AWSAccountId: ACCOUNT,
    KeyId: key.keyId,
    Arn: names.keyArn(key.keyId),
    CreationDate: epochSeconds(key.createdAt),
    Enabled: key.state === 'enabled',
    Description: key.description,
    KeyUsage: key.usage,
    KeyState: STATES[key.state],
    ...(key.deletionDate !== null && { DeletionDate: epochSeconds(key.deletionDate) }),
    Origin: external ? 'EXTERNAL' : 'AWS_KMS',
    ...(external && key.state !== 'pendingImport' && expiryOf(key.materialExpiresAt)),
    KeyManager: key.serviceKey ? 'AWS' : 'CUSTOMER',
    CustomerMasterKeySpec: spec,
    KeySpec: spec,
    ...(spec === 'SYMMETRIC_DEFAULT' && { EncryptionAlgorithms: ['SYMMETRIC_DEFAULT'] }),
    MultiRegion: false,
  };
}

function expiryOf(expiresAt: string | null): Record<string, unknown> {
  if (expiresAt === null) return { ExpirationModel: 'KEY_MATERIAL_DOES_NOT_EXPIRE' };
  return { ExpirationModel: 'KEY_MATERIAL_EXPIRES', ValidTo: epochSeconds(expiresAt) };
}
