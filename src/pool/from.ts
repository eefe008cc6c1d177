/**
 * A new object from another: whether it may share the source's data key, and by which way it is made.
 *
 * Kept true: what is under the same key and belongs to the same owner (tag `owner`) shares the data key and, where the file
 * system can, the extents; everything else is enciphered anew under a data key of its own. What is encrypted stays so.
 */

import { basename } from 'node:path';
import type { BulkOptions } from '../disk/bulk.js';
import { type Bring, checkSize, type Derived, derive } from '../disk/derive.js';
import { type CopyTarget, encryptTo, reencryptTo } from '../disk/encrypt-to.js';
import { readObject, type StoredObject } from '../disk/object.js';
import { KMS_TIMEOUT_MS } from '../disk/patience.js';
import type { DiskDescription } from '../disk/read.js';
import type { KeyProvider, ProviderEnvironment } from '../kms/provider.js';
import { canonicalKeyUri, openProvider } from '../kms/registry.js';
import type { ObjectKind } from '../luks2/label.js';
import type { Action } from '../policy/language.js';
import { mayMake } from './may.js';

export interface Placed {
  readonly path: string;
  readonly name: string;
}

export interface From {
  readonly kind: ObjectKind;
  /** Where it is made and what it is called: that depends on whether it is encrypted. */
  placeOf(encrypted: boolean): Placed;
  /** Beside the owner, which stays the source's unless it is given. */
  readonly tags: Readonly<Record<string, string>>;
  /** As the user names it; undefined: the source's key, or none for a plain source. */
  readonly keyUri: string | undefined;
  readonly sizeBytes?: bigint;
  readonly environment: ProviderEnvironment;
  /** How the file of a source that is in service is brought. */
  readonly bring?: Bring;
  /** Progress and end of what is enciphered anew. */
  readonly bulk?: Omit<BulkOptions, 'timeoutMs'>;
}

/** What a policy calls the making of `kind` from an object of the kind `source`. */
function actionFor(kind: ObjectKind, source: ObjectKind): Action {
  if (kind === 'disk') return 'ecs:CreateDisk';
  const copied = kind === source;
  if (kind === 'snapshot') return copied ? 'ecs:CopySnapshot' : 'ecs:CreateSnapshot';
  return copied ? 'ecs:CopyImage' : 'ecs:CreateImage';
}

/** Makes it. Fails with POLICY_DENIED, DISK_*, CONVERT_*, LUKS2_*, KEY_URI_* or KMS_*; then nothing was made. */
export async function makeFrom(source: StoredObject, from: From): Promise<StoredObject> {
  const { kind, sizeBytes, environment } = from;
  const present = source.encrypted?.token.keyUri;
  const keyUri = from.keyUri === undefined ? present : canonicalKeyUri(from.keyUri);
  const { owner } = source.label.tags;
  const tags = { ...(owner === undefined ? {} : { owner }), ...from.tags };
  const { path, name } = from.placeOf(keyUri !== undefined);
  const made = { path, kind, name, source: source.label.object.id, tags };
  const action = actionFor(kind, source.label.object.kind);
  await mayMake(action, { ...made, name: name || basename(path), keyUri: keyUri ?? null }, environment);
  const sized = sizeBytes === undefined ? made : { ...made, sizeBytes };
  if (keyUri === undefined) return derive(source, sized, undefined, from.bring);
  const shares = tags.owner === owner && (await isUnder(source, from.keyUri, environment));
  if (!shares) return encipher(source, sized, keyUri, from);
  const provider = await openProvider(present ?? keyUri, environment);
  try {
    return await derive(source, sized, provider, from.bring);
  } finally {
    await provider.close();
  }
}

/** Whether the source's data key is wrapped by the key that the user names: a label may be another key's by now. */
async function isUnder(
  { encrypted }: StoredObject,
  keyUri: string | undefined,
  environment: ProviderEnvironment,
): Promise<boolean> {
  if (encrypted === undefined || keyUri === undefined) return encrypted !== undefined;
  const provider = await openProvider(keyUri, { ...environment, namedByOwner: true });
  try {
    const { keyId } = await provider.describeKey(undefined, { timeoutMs: KMS_TIMEOUT_MS });
    return keyId === encrypted.token.keyId;
  } finally {
    await provider.close();
  }
}

/** Under a data key of its own. */
async function encipher(
  source: StoredObject,
  made: Derived,
  keyUri: string,
  { environment, bulk = {} }: From,
): Promise<StoredObject> {
  checkSize(source, made.sizeBytes);
  const { encrypted } = source;
  const target = { ...made, discard: encrypted?.holes ?? false };
  const options = { ...bulk, timeoutMs: KMS_TIMEOUT_MS };
  const to = await openProvider(keyUri, { ...environment, namedByOwner: true });
  try {
    if (encrypted === undefined) await encryptTo(source.path, target, to, options);
    else await reencrypt(encrypted, target, to, options, environment);
  } finally {
    await to.close();
  }
  return readObject(made.path);
}

async function reencrypt(
  disk: DiskDescription,
  target: CopyTarget,
  to: KeyProvider,
  options: BulkOptions,
  environment: ProviderEnvironment,
): Promise<void> {
  const own = await openProvider(disk.token.keyUri, environment);
  try {
    await reencryptTo(disk, own, target, to, options);
  } finally {
    await own.close();
  }
}
