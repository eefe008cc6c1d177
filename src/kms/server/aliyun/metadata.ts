/** A key as Alibaba Cloud describes it: KeyMetadata, its words for states and specs, and its periods of rotation. */

import type { KeyInfo } from '../../local/info.js';
import type { KeyState } from '../../provider.js';
import { ACCOUNT, type AliyunCall, keyArn, timeOf } from './call.js';
import { invalid } from './errors.js';

const STATES: Readonly<Record<KeyState, string>> = {
  enabled: 'Enabled',
  disabled: 'Disabled',
  pendingDeletion: 'PendingDeletion',
  pendingImport: 'PendingImport',
};

/** Alibaba's spec for one of ours. */
export const SPECS = {
  Aliyun_AES_256: 'AES_256',
  RSA_2048: 'RSA_2048',
  RSA_3072: 'RSA_3072',
  RSA_4096: 'RSA_4096',
  EC_P256: 'EC_P256',
} as const;

const DAY_S = 24 * 60 * 60;
const UNITS_S: Readonly<Record<string, number>> = { d: DAY_S, h: 3600, m: 60, s: 1 };
const ROTATION_DAYS = { min: 7, max: 730 };

export function metadataOf(call: AliyunCall, key: KeyInfo): Record<string, unknown> {
  const external = key.origin === 'external';
  const spec = Object.entries(SPECS).find(([, ours]) => ours === key.spec)?.[0] ?? key.spec;
  return {
    KeyId: key.keyId,
    Arn: keyArn(call, key.keyId),
    KeyState: STATES[key.state],
    KeySpec: spec,
    KeyUsage: key.usage === 'ENCRYPT_DECRYPT' ? 'ENCRYPT/DECRYPT' : 'SIGN/VERIFY',
    Description: key.description,
    // The keys of services are made in the service's name.
    Creator: key.serviceKey ? 'Ecs' : ACCOUNT,
    CreationDate: timeOf(key.createdAt),
    DeleteDate: key.deletionDate === null ? '' : timeOf(key.deletionDate),
    Origin: external ? 'EXTERNAL' : 'Aliyun_KMS',
    MaterialExpireTime: key.materialExpiresAt === null ? '' : timeOf(key.materialExpiresAt),
    ProtectionLevel: 'SOFTWARE',
    PrimaryKeyVersion: key.state === 'pendingImport' ? '' : key.primaryVersion,
    LastRotationDate: timeOf(key.versions.at(-1)?.createdAt ?? key.createdAt),
    ...rotationOf(key),
    DeletionProtection: key.deletionProtection ? 'Enabled' : 'Disabled',
  };
}

function rotationOf({ rotation, state }: KeyInfo): Record<string, unknown> {
  if (rotation === null) return { AutomaticRotation: 'Disabled' };
  return {
    AutomaticRotation: state === 'enabled' ? 'Enabled' : 'Suspended',
    RotationInterval: `${rotation.periodDays * DAY_S}s`,
    NextRotationDate: timeOf(rotation.nextAt),
  };
}

/**
 * The days between two rotations that the parameters ask for (`RotationInterval`, such as 30d, 168h or 604800s), null
 * for none, undefined where they say nothing. Only whole days from 7 to 730 can be had.
 */
export function rotationDays({ input }: AliyunCall): number | null | undefined {
  const on = input.optionalFlag('EnableAutomaticRotation');
  if (on !== true) return on === undefined ? undefined : null;
  const [, count = '', unit = ''] = /^(\d{1,9})([dhms])$/.exec(input.text('RotationInterval')) ?? [];
  const days = (Number(count) * (UNITS_S[unit] ?? Number.NaN)) / DAY_S;
  const right = Number.isInteger(days) && days >= ROTATION_DAYS.min && days <= ROTATION_DAYS.max;
  return right ? days : invalid('RotationInterval');
}
