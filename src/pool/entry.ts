/** What a pool knows of one of its objects without reading it again: what its header or label said. */

import { NO_DISK_OF_OURS, nameOf, readObject, type StoredObject } from '../disk/object.js';
import { isFailure } from '../errors.js';
import type { ObjectKind } from '../luks2/label.js';

export interface Entry {
  readonly path: string;
  readonly uuid: string;
  readonly kind: ObjectKind;
  readonly id: string;
  readonly name: string;
  /** Bytes of payload, in decimal. */
  readonly sizeBytes: string;
  readonly encrypted: boolean;
  /** The key that wraps; null for a plain object. */
  readonly key: { readonly uri: string; readonly id: string; readonly version: string } | null;
  /** Id of what it was made from, or empty. */
  readonly source: string;
  readonly createdAt: string;
  readonly tags: Readonly<Record<string, string>>;
}

/** A file that may be an object and cannot be read as one. */
export interface Unreadable {
  readonly path: string;
  readonly why: string;
}

export function entryOf(object: StoredObject): Entry {
  const { path, uuid, label, sizeBytes, encrypted } = object;
  const token = encrypted?.token;
  return {
    path,
    uuid,
    kind: label.object.kind,
    id: label.object.id,
    name: nameOf(object),
    sizeBytes: `${sizeBytes}`,
    encrypted: token !== undefined,
    key: token ? { uri: token.keyUri, id: token.keyId, version: token.keyVersion } : null,
    source: label.source,
    createdAt: label.createdAt,
    tags: label.tags,
  };
}

/** The object at `path`, why it cannot be read, or undefined where none is. */
export async function entryAt(path: string): Promise<Entry | Unreadable | undefined> {
  try {
    return entryOf(await readObject(path));
  } catch (error) {
    if (isFailure(error, ...NO_DISK_OF_OURS, 'DISK_NOT_FOUND')) {
      return undefined;
    }
    if (!isFailure(error)) throw error;
    return { path, why: error.message };
  }
}
