/**
 * Another name or other tags for an object. Of an encrypted one that is a new header, so the data key proves the old one
 * first; of a plain one it is the label beside the file.
 */

import { fail, isFailure } from '../errors.js';
import type { KeyProvider, ProviderEnvironment } from '../kms/provider.js';
import { openProvider } from '../kms/registry.js';
import { withLock } from '../luks2/lock.js';
import { openBacking } from './backing.js';
import { unwrapDataKey } from './envelope.js';
import { readObject, type StoredObject } from './object.js';
import { KMS_TIMEOUT_MS } from './patience.js';
import { writeLabel } from './plain.js';
import { type DiskDescription, readDisk } from './read.js';
import { type HeaderLock, rewriteHeader } from './rewrite.js';

export interface LabelChange {
  readonly name?: string;
  /** null takes the tag away. */
  readonly tags?: Readonly<Record<string, string | null>>;
}

/** Relabels an object that nobody serves; as it is then. DISK_LABEL, DISK_IN_USE, DISK_IO, LUKS2_* or KMS_*. */
export async function relabelDetached(
  object: StoredObject,
  change: LabelChange,
  environment: ProviderEnvironment,
): Promise<StoredObject> {
  const { path, encrypted } = object;
  if (encrypted) {
    const provider = await openProvider(encrypted.token.keyUri, environment);
    try {
      await relabelHeader(encrypted, change, provider, 'take');
    } finally {
      await provider.close();
    }
  } else {
    const file = await openBacking(path, 'read');
    try {
      await withLock(file.fd, path, 'exclusive', async () => relabelPlain(object, change));
    } finally {
      await file.close();
    }
  }
  return readObject(path);
}

/** Relabels an encrypted object, whose lock is to be taken or held by this process. */
export async function relabelHeader(
  { path, header }: DiskDescription,
  change: LabelChange,
  provider: KeyProvider,
  lock: HeaderLock,
): Promise<DiskDescription> {
  const key = await unwrapDataKey(header, provider, { timeoutMs: KMS_TIMEOUT_MS });
  try {
    await rewriteHeader(path, key, ({ token, flags }) => ({ token: changed(token, change), flags }), lock);
  } catch (error) {
    if (isFailure(error, 'LUKS2_TOKEN')) fail('DISK_LABEL', error.facts, error);
    throw error;
  } finally {
    key.wipe();
  }
  return readDisk(path);
}

/** Relabels a plain object. */
export function relabelPlain({ path, uuid, label }: StoredObject, change: LabelChange): void {
  writeLabel(path, { uuid, label: changed(label, change) }, 'must');
}

function changed<L extends { name: string; tags: Readonly<Record<string, string>> }>(
  label: L,
  { name, tags = {} }: LabelChange,
): L {
  const entries = Object.entries({ ...label.tags, ...tags });
  const kept = entries.filter((entry): entry is [string, string] => entry[1] !== null);
  return { ...label, name: name ?? label.name, tags: Object.fromEntries(kept) };
}
