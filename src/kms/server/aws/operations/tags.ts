/** Tags of keys, and their rules at AWS. */

import { type AwsCall, type AwsOperation, keyOf, markerOf, pageEnd } from '../call.js';
import { invalid, refuse } from '../errors.js';

const TAGS_MAX = 50;
const NAME_MAX_CHARS = 128;
const VALUE_MAX_CHARS = 256;

/** The member `Tags`, a list of {TagKey, TagValue}. Fails with TagException. */
export function tagsOf({ input }: AwsCall): Record<string, string> {
  const tags: Record<string, string> = {};
  for (const each of input.list('Tags')) {
    const { TagKey: name, TagValue: value } = (each ?? {}) as Record<string, unknown>;
    if (typeof name !== 'string' || typeof value !== 'string') return invalid("Value null at 'tags.member'");
    checkName(name);
    if (value.length > VALUE_MAX_CHARS)
      refuse('TagException', `A tag's value has at most ${VALUE_MAX_CHARS}`);
    if (Object.hasOwn(tags, name)) refuse('TagException', 'Duplicate tag keys');
    Object.defineProperty(tags, name, { value, enumerable: true });
  }
  return tags;
}

function checkName(name: string): void {
  if (name === '' || name.length > NAME_MAX_CHARS)
    refuse('TagException', `A tag key has 1 to ${NAME_MAX_CHARS}`);
  if (name.startsWith('aws:')) refuse('TagException', 'Tag keys may not begin with aws:');
}

const TagResource: AwsOperation = async (call) => {
  const { input, kms, options } = call;
  if (!input.has('Tags')) return invalid("Value null at 'tags' failed to satisfy: not null");
  const tags = tagsOf(call);
  const ref = await keyOf(call);
  const { tags: before } = await kms.describeKey(ref, options);
  if (Object.keys({ ...before, ...tags }).length > TAGS_MAX) {
    refuse('LimitExceededException', `A key has at most ${TAGS_MAX} tags`);
  }
  await kms.tagKey(ref, tags, options);
  return undefined;
};

const UntagResource: AwsOperation = async (call) => {
  const { input, kms, options } = call;
  const names = input.list('TagKeys');
  if (!names.every((name) => typeof name === 'string'))
    return invalid("Value at 'tagKeys' is no list of strings");
  for (const name of names as string[]) checkName(name);
  await kms.untagKey(await keyOf(call), names as string[], options);
  return undefined;
};

const ListResourceTags: AwsOperation = async (call) => {
  const after = markerOf(call);
  const limit = call.input.optionalInteger('Limit', 1, 1000) ?? TAGS_MAX;
  const { tags } = await call.kms.describeKey(await keyOf(call), call.options);
  const names = Object.keys(tags).sort();
  const from = after === undefined ? 0 : names.findIndex((name) => name > after);
  const page = from < 0 ? [] : names.slice(from, from + limit);
  const last = page.at(-1);
  const next = last !== undefined && last !== names.at(-1) ? last : undefined;
  const Tags = page.map((name) => ({ TagKey: name, TagValue: tags[name] }));
  return { fields: { Tags, ...pageEnd(call, next) } };
};

export const tagOperations = { TagResource, UntagResource, ListResourceTags };
