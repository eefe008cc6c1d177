/** Keys: made, described, listed, switched on and off, taken away and kept. */

import { type AliyunCall, type AliyunOperation, DONE, keyArn, keyOf, partFields, partOf } from '../call.js';
import { invalid, unsupported } from '../errors.js';
import { metadataOf, rotationDays, SPECS } from '../metadata.js';
import { tagsOfJson } from './tags.js';

const USAGES = ['ENCRYPT/DECRYPT', 'SIGN/VERIFY'] as const;
const ORIGINS = ['Aliyun_KMS', 'EXTERNAL'] as const;
/** What would change who may use a key, or where it lies, is refused, not passed over. */
const UNKNOWN = ['Policy', 'DKMSInstanceId'];
const DELETION_DAYS = { min: 7, max: 366 };

const CreateKey: AliyunOperation = async (call) => {
  const { input, caller, kms, options } = call;
  await caller.mayDo('CreateKey');
  const alien = UNKNOWN.find((name) => input.has(name));
  if (alien) unsupported(alien);
  if ((input.optionalText('ProtectionLevel') || 'SOFTWARE') !== 'SOFTWARE') unsupported('ProtectionLevel');
  const spec =
    input.optionalWord('KeySpec', Object.keys(SPECS) as (keyof typeof SPECS)[]) ?? 'Aliyun_AES_256';
  const usage = input.optionalWord('KeyUsage', USAGES);
  const right = spec === 'Aliyun_AES_256' ? 'ENCRYPT/DECRYPT' : 'SIGN/VERIFY';
  if (usage !== undefined && usage !== right) invalid('KeyUsage');
  const external = input.optionalWord('Origin', ORIGINS) === 'EXTERNAL';
  const description = input.optionalText('Description') ?? '';
  const days = rotationDays(call) ?? null;
  const key = await kms.createKey(
    {
      spec: SPECS[spec],
      origin: external ? 'external' : 'kms',
      description,
      rotationDays: days,
      tags: tagsOfJson(input),
    },
    options,
  );
  return { fields: { KeyMetadata: metadataOf(call, key) } };
};

const DescribeKey: AliyunOperation = async (call) => {
  const key = await call.kms.describeKey(await keyOf(call), call.options);
  return { fields: { KeyMetadata: metadataOf(call, key) } };
};

const ListKeys: AliyunOperation = async (call) => {
  const { input, caller, kms, options } = call;
  await caller.mayDo('ListKeys');
  if (input.has('Filters')) unsupported('Filters');
  const part = partOf(call);
  const { keys, total } = await kms.listKeys({ skip: part.skip, limit: part.size }, options);
  const Key = keys.map(({ keyId }) => ({ KeyId: keyId, KeyArn: keyArn(call, keyId) }));
  return { fields: { Keys: { Key }, ...partFields(part, total) } };
};

const EnableKey: AliyunOperation = async (call) => {
  await call.kms.enableKey(await keyOf(call), call.options);
  return DONE;
};

const DisableKey: AliyunOperation = async (call) => {
  await call.kms.disableKey(await keyOf(call), call.options);
  return DONE;
};

const ScheduleKeyDeletion: AliyunOperation = async (call) => {
  const { input, kms, options } = call;
  const { min, max } = DELETION_DAYS;
  input.text('PendingWindowInDays');
  const days = input.optionalInteger('PendingWindowInDays', min, max);
  await kms.scheduleDeletion(await keyOf(call), days, options);
  return DONE;
};

/** The key is enabled again, as Alibaba does it. */
const CancelKeyDeletion: AliyunOperation = async (call) => {
  await call.kms.cancelDeletion(await keyOf(call), 'enabled', call.options);
  return DONE;
};

const UpdateKeyDescription: AliyunOperation = async (call) => {
  const description = call.input.optionalText('Description') ?? '';
  await call.kms.setDescription(await keyOf(call), description, call.options);
  return DONE;
};

/** The key is named by its ARN or, as later documentation has it, by its id. */
const SetDeletionProtection: AliyunOperation = async (call) => {
  const { input, kms, options } = call;
  const on = input.flag('EnableDeletionProtection');
  const name = input.has('KeyId') ? 'KeyId' : 'ProtectedResourceArn';
  if (name === 'KeyId' && input.has('ProtectedResourceArn')) invalid('ProtectedResourceArn');
  await kms.setDeletionProtection(await keyOf(call, name), on, options);
  return DONE;
};

const DescribeRegions: AliyunOperation = async ({ region, caller }: AliyunCall) => {
  await caller.mayDo('DescribeRegions');
  return { fields: { Regions: { Region: [{ RegionId: region }] } } };
};

export const keyOperations = {
  CreateKey,
  DescribeKey,
  ListKeys,
  EnableKey,
  DisableKey,
  ScheduleKeyDeletion,
  CancelKeyDeletion,
  UpdateKeyDescription,
  SetDeletionProtection,
  DescribeRegions,
};
