/**
 * Tags of keys: of one key with JSON in a parameter (TagResource), and of many with `ResourceId.N` and `Tag.N.Key`
 * (TagResources), which came later. All of what is asked is checked before the first key is changed.
 */

import { type AliyunCall, type AliyunOperation, DONE, keyOf, refOf } from '../call.js';
import { invalid, missing } from '../errors.js';
import type { Input } from '../input.js';

const TAGS_MAX = 20;
const NAME_MAX_CHARS = 128;
const VALUE_MAX_CHARS = 128;

type Tags = Readonly<Record<string, string>>;

/** The parameter `Tags`: a JSON list of {TagKey, TagValue}; no tags when it is missing. */
export function tagsOfJson(input: Input): Tags {
  const list = input.optionalJson('Tags') ?? [];
  if (!Array.isArray(list)) return invalid('Tags');
  const pairs = list.map((each) => {
    const { TagKey, TagValue } = (each ?? {}) as Record<string, unknown>;
    return [TagKey, TagValue ?? ''] as const;
  });
  return checked(pairs, 'Tags');
}

/** `Tag.N.Key` and `Tag.N.Value`. */
function tagsOfFields(input: Input): Tags {
  const pairs: [string, string][] = [];
  for (let key = input.optionalText('Tag.1.Key'); key !== undefined; ) {
    pairs.push([key, input.optionalText(`Tag.${pairs.length + 1}.Value`) ?? '']);
    if (pairs.length > TAGS_MAX) invalid('Tag');
    key = input.optionalText(`Tag.${pairs.length + 1}.Key`);
  }
  return checked(pairs, 'Tag');
}

function checked(pairs: readonly (readonly [unknown, unknown])[], name: string): Tags {
  if (pairs.length > TAGS_MAX) return invalid(name);
  for (const [key, value] of pairs) {
    if (typeof key !== 'string' || key === '' || key.length > NAME_MAX_CHARS) return invalid(name);
    if (typeof value !== 'string' || value.length > VALUE_MAX_CHARS) return invalid(name);
  }
  const tags = Object.fromEntries(pairs) as Record<string, string>;
  return Object.keys(tags).length === pairs.length ? tags : invalid(name);
}

const TagResource: AliyunOperation = async (call) => {
  call.input.text('Tags');
  const tags = tagsOfJson(call.input);
  await call.kms.tagKey(await keyOf(call), tags, call.options);
  return DONE;
};

const UntagResource: AliyunOperation = async (call) => {
  call.input.text('TagKeys');
  const names = call.input.optionalJson('TagKeys');
  if (!Array.isArray(names) || !names.every((name) => typeof name === 'string')) return invalid('TagKeys');
  await call.kms.untagKey(await keyOf(call), names as string[], call.options);
  return DONE;
};

const ListResourceTags: AliyunOperation = async (call) => {
  const { keyId, tags } = await call.kms.describeKey(await keyOf(call), call.options);
  const Tag = Object.entries(tags).map(([TagKey, TagValue]) => ({ KeyId: keyId, TagKey, TagValue }));
  return { fields: { Tags: { Tag } } };
};

const TagResources: AliyunOperation = async (call) => {
  const tags = tagsOfFields(call.input);
  if (Object.keys(tags).length === 0) return missing('Tag');
  for (const keyId of await resourcesOf(call)) await call.kms.tagKey(keyId, tags, call.options);
  return DONE;
};

const UntagResources: AliyunOperation = async (call) => {
  const { input, kms, options } = call;
  const names = input.list('TagKey');
  const all = names.length === 0 && input.optionalFlag('All') === true;
  if (names.length === 0 && !all) return missing('TagKey');
  for (const keyId of await resourcesOf(call)) {
    const gone = all ? Object.keys((await kms.describeKey(keyId, options)).tags) : names;
    await kms.untagKey(keyId, gone, options);
  }
  return DONE;
};

const ListTagResources: AliyunOperation = async (call) => {
  const wanted = tagsOfFields(call.input);
  const TagResource: Record<string, string>[] = [];
  for (const keyId of await resourcesOf(call)) {
    const { tags } = await call.kms.describeKey(keyId, call.options);
    for (const [name, value] of Object.entries(tags)) {
      if (!matches(wanted, name, value)) continue;
      TagResource.push({ ResourceId: keyId, ResourceType: 'key', TagKey: name, TagValue: value });
    }
  }
  return { fields: { TagResources: { TagResource }, NextToken: '' } };
};

/** A tag that was asked for without a value has any. */
const matches = (wanted: Tags, name: string, value: string): boolean =>
  Object.keys(wanted).length === 0 ||
  (Object.hasOwn(wanted, name) && (wanted[name] === '' || wanted[name] === value));

/** The ids of the keys `ResourceId.N`, each of which is there and allowed. */
async function resourcesOf({ operation, input, caller, kms, options }: AliyunCall): Promise<string[]> {
  input.optionalWord('ResourceType', ['key', 'KEY']);
  const named = input.list('ResourceId').map(refOf);
  if (named.length === 0) return missing('ResourceId');
  const keyIds: string[] = [];
  for (const ref of named) {
    keyIds.push((await kms.describeKey(await caller.mayUse(operation, ref), options)).keyId);
  }
  return keyIds;
}

export const tagOperations = {
  TagResource,
  UntagResource,
  ListResourceTags,
  TagResources,
  UntagResources,
  ListTagResources,
};
