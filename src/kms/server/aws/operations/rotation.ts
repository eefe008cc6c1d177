/** Versions of a key: rotated by period, on demand, and listed. */

import type { KeyInfo } from '../../../local/info.js';
import { type AwsCall, type AwsOperation, epochSeconds, keyOf, markerOf, pageEnd } from '../call.js';
import { refuse } from '../errors.js';

const PERIOD_DAYS = { min: 90, max: 2560, default: 365 };

const EnableKeyRotation: AwsOperation = async (call) => {
  const { min, max } = PERIOD_DAYS;
  const days = call.input.optionalInteger('RotationPeriodInDays', min, max) ?? PERIOD_DAYS.default;
  const { keyId } = await rotatable(call);
  await call.kms.setRotation(keyId, days, call.options);
  return undefined;
};

const DisableKeyRotation: AwsOperation = async (call) => {
  const { keyId } = await rotatable(call);
  await call.kms.setRotation(keyId, null, call.options);
  return undefined;
};

const RotateKeyOnDemand: AwsOperation = async (call) => {
  const { keyId } = await rotatable(call);
  await call.kms.rotateKey(keyId, call.options);
  return { fields: { KeyId: call.names.keyArn(keyId) } };
};

const GetKeyRotationStatus: AwsOperation = async (call) => {
  const key = await call.kms.describeKey(await keyOf(call), call.options);
  const { rotation } = key;
  return {
    fields: {
      KeyId: call.names.keyArn(key.keyId),
      KeyRotationEnabled: rotation !== null,
      ...(rotation && {
        RotationPeriodInDays: rotation.periodDays,
        NextRotationDate: epochSeconds(rotation.nextAt),
      }),
    },
  };
};

const ListKeyRotations: AwsOperation = async (call) => {
  const after = Number(markerOf(call) ?? 1);
  const limit = call.input.optionalInteger('Limit', 1, 1000) ?? 100;
  const key = await call.kms.describeKey(await keyOf(call), call.options);
  // The first version came by no rotation.
  const later = key.versions.filter(({ version }) => Number(version) > after);
  const page = later.slice(0, limit);
  const Rotations = page.map(({ createdAt }) => ({
    KeyId: call.names.keyArn(key.keyId),
    RotationDate: epochSeconds(createdAt),
    RotationType: 'ON_DEMAND',
  }));
  const next = later.length > page.length ? page.at(-1)?.version : undefined;
  return { fields: { Rotations, ...pageEnd(call, next) } };
};

/** Symmetric keys of our own material rotate; others are refused as AWS does. */
async function rotatable(call: AwsCall): Promise<KeyInfo> {
  const key = await call.kms.describeKey(await keyOf(call), call.options);
  if (key.state === 'disabled') refuse('DisabledException', `${call.names.keyArn(key.keyId)} is disabled.`);
  if (key.spec !== 'AES_256' || key.origin === 'external') {
    refuse('UnsupportedOperationException', `${call.names.keyArn(key.keyId)} cannot be rotated`);
  }
  return key;
}

export const rotationOperations = {
  EnableKeyRotation,
  DisableKeyRotation,
  RotateKeyOnDemand,
  GetKeyRotationStatus,
  ListKeyRotations,
};
