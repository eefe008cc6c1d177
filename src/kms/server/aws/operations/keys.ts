/** Keys: made, described, listed, switched on and off, taken away and kept. */

import { type AwsCall, type AwsOperation, epochSeconds, keyOf, markerOf, pageEnd } from '../call.js';
import { refuse } from '../errors.js';
import { metadataOf, SPECS, STATES } from '../metadata.js';
import { tagsOf } from './tags.js';

const USAGES = ['ENCRYPT_DECRYPT', 'SIGN_VERIFY'] as const;
const ORIGINS = ['AWS_KMS', 'EXTERNAL'] as const;
/** What would change who may use a key, or where it lies, is refused, not passed over. */
const UNKNOWN = ['Policy', 'CustomKeyStoreId', 'XksKeyId'];
const DELETION_DAYS = { min: 7, max: 30, default: 30 };

const CreateKey: AwsOperation = async (call) => {
  const { input, caller, kms, names, options } = call;
  await caller.mayDo('CreateKey');
  const alien = UNKNOWN.find((name) => input.has(name)) ?? (input.flag('MultiRegion') && 'MultiRegion');
  if (alien) refuse('UnsupportedOperationException', `${alien} is not supported here`);
  const known = Object.keys(SPECS) as (keyof typeof SPECS)[];
  const spec = input.optionalWord('KeySpec', known) ?? input.optionalWord('CustomerMasterKeySpec', known);
  const usage = input.optionalWord('KeyUsage', USAGES);
  checkUsage(spec ?? 'SYMMETRIC_DEFAULT', usage);
  const origin = input.optionalWord('Origin', ORIGINS);
  const description = input.optionalText('Description');
  const key = await kms.createKey(
    {
      ...(spec && { spec: SPECS[spec] }),
      ...(origin && { origin: origin === 'EXTERNAL' ? 'external' : 'kms' }),
      ...(description !== undefined && { description }),
      tags: tagsOf(call),
    },
    options,
  );
  return { fields: { KeyMetadata: metadataOf(key, names) } };
};

function checkUsage(spec: string, usage: string | undefined): void {
  const right = spec === 'SYMMETRIC_DEFAULT' ? 'ENCRYPT_DECRYPT' : 'SIGN_VERIFY';
  if (usage === undefined || usage === right) return;
  if (spec.startsWith('RSA_')) refuse('UnsupportedOperationException', 'RSA keys only sign here');
  refuse('ValidationException', `KeyUsage ${usage} is not compatible with KeySpec ${spec}`);
}

const DescribeKey: AwsOperation = async (call) => {
  const key = await call.kms.describeKey(await keyOf(call), call.options);
  return { fields: { KeyMetadata: metadataOf(key, call.names) } };
};

const ListKeys: AwsOperation = async (call) => {
  const { input, caller, kms, names, options } = call;
  await caller.mayDo('ListKeys');
  const after = markerOf(call);
  const limit = input.optionalInteger('Limit', 1, 1000) ?? 100;
  const { keys, next } = await kms.listKeys({ ...(after && { after }), limit }, options);
  const Keys = keys.map(({ keyId }) => ({ KeyId: keyId, KeyArn: names.keyArn(keyId) }));
  return { fields: { Keys, ...pageEnd(call, next) } };
};

const EnableKey: AwsOperation = async (call) => {
  await call.kms.enableKey(await keyOf(call), call.options);
  return undefined;
};

const DisableKey: AwsOperation = async (call) => {
  await call.kms.disableKey(await keyOf(call), call.options);
  return undefined;
};

const UpdateKeyDescription: AwsOperation = async (call) => {
  const description = call.input.optionalText('Description') ?? '';
  await call.kms.setDescription(await keyOf(call), description, call.options);
  return undefined;
};

const ScheduleKeyDeletion: AwsOperation = async (call) => {
  const { input, kms, names, options } = call;
  const { min, max } = DELETION_DAYS;
  const days = input.optionalInteger('PendingWindowInDays', min, max) ?? DELETION_DAYS.default;
  const key = await kms.scheduleDeletion(await keyOf(call), days, options);
  return {
    fields: {
      KeyId: names.keyArn(key.keyId),
      KeyState: STATES[key.state],
      ...(key.deletionDate !== null && { DeletionDate: epochSeconds(key.deletionDate) }),
      PendingWindowInDays: days,
    },
  };
};

const CancelKeyDeletion: AwsOperation = async (call: AwsCall) => {
  const key = await call.kms.cancelDeletion(await keyOf(call), 'disabled', call.options);
  return { fields: { KeyId: call.names.keyArn(key.keyId) } };
};

export const keyOperations = {
  CreateKey,
  DescribeKey,
  ListKeys,
  EnableKey,
  DisableKey,
  UpdateKeyDescription,
  ScheduleKeyDeletion,
  CancelKeyDeletion,
};
