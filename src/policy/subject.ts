/**
 * What a request is about, as policies see it: the names of the object as a resource, and what is so of it.
 *
 * A fact that cannot be known is left out, and a policy that asks for it is not met.
 */

import { isFailure } from '../errors.js';
import { DEFAULT_KEY_URI } from '../kms/local/ref.js';
import type { ProviderEnvironment } from '../kms/provider.js';
import { canonicalKeyUri, openProvider } from '../kms/registry.js';
import { CONDITION_KEYS, comparableKey, TAG_KEY_PREFIX } from './language.js';

const KMS_TIMEOUT_MS = 10_000;

/** An object that is, or one that is to be made: then as it would be. */
export interface Subject {
  readonly kind: 'disk' | 'snapshot' | 'image';
  /** Empty for one that is to be made. */
  readonly id: string;
  readonly name: string;
  /** The key that wraps its data key; null for a plain one. The id is the KMS's own, where it is known. */
  readonly key: { readonly uri: string; readonly id?: string } | null;
  /** It is, or was made of, the disk of a system. */
  readonly system: boolean;
  readonly tags: Readonly<Record<string, string>>;
}

/** What an object says of itself, and the key that wraps its data key. */
export interface Labelled {
  readonly object: { readonly kind: Subject['kind']; readonly id: string };
  readonly name: string;
  /** The id of what it was made from. */
  readonly source: string;
  readonly tags: Readonly<Record<string, string>>;
}

/** An image is the disk of a system, and so is a disk that was made from one. */
export const subjectOf = ({ object, name, source, tags }: Labelled, key: Subject['key']): Subject => ({
  kind: object.kind,
  id: object.id,
  name,
  key,
  system: object.kind === 'image' || source.startsWith('m-'),
  tags,
});

/** No machine has a region or an account: the places where RAM names them are filled with this. */
export const HERE = 'local';

/** By its id, and by its name: a pattern may name either. */
export function resourcesOf({ kind, id, name }: Subject): string[] {
  const named = [id, name].filter((text) => text !== '');
  return (named.length > 0 ? named : ['']).map((text) => `acs:ecs:${HERE}:${HERE}:${kind}/${text}`);
}

/** The facts of the subject, by comparable condition key. Only what `wanted` names is asked of a KMS. */
export async function factsOf(
  subject: Subject,
  wanted: ReadonlySet<string>,
  environment: ProviderEnvironment,
): Promise<Map<string, string>> {
  const [encrypted, byok, systemEncrypted, systemByok, now] = CONDITION_KEYS.map(comparableKey) as string[];
  const facts = new Map<string, string>();
  const put = (key: string | undefined, fact: string) => facts.set(key as string, fact);
  for (const [key, value] of Object.entries(subject.tags)) put(comparableKey(TAG_KEY_PREFIX + key), value);
  put(now, new Date().toISOString());
  put(encrypted, `${subject.key !== null}`);
  if (subject.system) put(systemEncrypted, `${subject.key !== null}`);
  if ([byok, systemByok].some((key) => wanted.has(key as string))) {
    const own = await isByok(subject.key, environment);
    if (own !== undefined) {
      put(byok, `${own}`);
      if (subject.system) put(systemByok, `${own}`);
    }
  }
  return facts;
}

/** Whether the key is in its users' hands: not the service key of its KMS. Undefined when no KMS tells. */
async function isByok(key: Subject['key'], environment: ProviderEnvironment): Promise<boolean | undefined> {
  if (key === null || canonicalKeyUri(key.uri) === DEFAULT_KEY_URI) return false;
  try {
    const provider = await openProvider(key.uri, environment);
    try {
      const { serviceKey } = await provider.describeKey(key.id, { timeoutMs: KMS_TIMEOUT_MS });
      return !serviceKey;
    } finally {
      await provider.close();
    }
  } catch (error) {
    if (isFailure(error)) return undefined;
    throw error;
  }
}
