/** Versions of a key: made by hand or by period, described and listed. */

import type { KeyInfo } from '../../../local/info.js';
import { type AliyunOperation, DONE, keyOf, partFields, partOf, timeOf } from '../call.js';
import { missing, refuse } from '../errors.js';
import { rotationDays } from '../metadata.js';

const versionOf = ({ keyId }: KeyInfo, { version, createdAt }: KeyInfo['versions'][number]) => ({
  KeyVersionId: version,
  KeyId: keyId,
  CreationDate: timeOf(createdAt),
});

function namedVersion(key: KeyInfo, name: string) {
  const found = key.versions.find(({ version }) => version === name);
  return found
    ? versionOf(key, found)
    : refuse(404, 'Forbidden.KeyVersionNotFound', 'The specified KeyVersion is not found.');
}

const CreateKeyVersion: AliyunOperation = async (call) => {
  const key = await call.kms.rotateKey(await keyOf(call), call.options);
  return { fields: { KeyVersion: namedVersion(key, key.primaryVersion) } };
};

const DescribeKeyVersion: AliyunOperation = async (call) => {
  const version = call.input.text('KeyVersionId', 64);
  const key = await call.kms.describeKey(await keyOf(call), call.options);
  return { fields: { KeyVersion: namedVersion(key, version) } };
};

const ListKeyVersions: AliyunOperation = async (call) => {
  const part = partOf(call);
  const key = await call.kms.describeKey(await keyOf(call), call.options);
  const page = key.versions.slice(part.skip, part.skip + part.size);
  const KeyVersion = page.map((each) => versionOf(key, each));
  return { fields: { KeyVersions: { KeyVersion }, ...partFields(part, key.versions.length) } };
};

const UpdateRotationPolicy: AliyunOperation = async (call) => {
  const days = rotationDays(call);
  if (days === undefined) return missing('EnableAutomaticRotation');
  await call.kms.setRotation(await keyOf(call), days, call.options);
  return DONE;
};

export const versionOperations = {
  CreateKeyVersion,
  DescribeKeyVersion,
  ListKeyVersions,
  UpdateRotationPolicy,
};
