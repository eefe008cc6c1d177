/**
 * What depends on a key: the disks, snapshots and images in pools whose tokens name it, and what is in service under it
 * wherever its file lies.
 *
 * Only headers are read, and nothing is asked of a KMS. What is no sealdisk object is passed over; one that cannot be read
 * is told, for it may depend on the key.
 */

import { lstat, open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../errors.js';
import { MAGIC } from '../luks2/header.js';
import type { ObjectKind } from '../luks2/label.js';
import { type Entry, entryAt, type Unreadable } from '../pool/entry.js';
import { inTurns } from '../pool/in-turns.js';
import { type Attachment, list } from './attachments.js';

export interface KeyNames {
  /** Canonical. */
  readonly keyUri: string;
  /** The KMS's own id of the key, where it is known: a token may name the key by another alias. */
  readonly keyId: string | undefined;
}

export interface KeyUse {
  readonly path: string;
  readonly kind: ObjectKind;
  readonly id: string;
  readonly name: string;
  /** Bytes of payload that nobody could read without the key, in decimal. */
  readonly sizeBytes: string;
  readonly keyUri: string;
  readonly keyVersion: string;
  /** Where it is in service now. */
  readonly service: Pick<Attachment, 'device' | 'address' | 'gate' | 'onKeyLoss'> | null;
}

export interface KeyUsage {
  /** In the order of their paths. */
  readonly uses: readonly KeyUse[];
  readonly unreadable: readonly Unreadable[];
}

/** Folders at the top of a pool that hold no objects. */
const NO_OBJECTS = ['kms', 'lost+found'];

/** What depends on `key`, in `folders` and in service. */
export async function usageOf(key: KeyNames, folders: readonly string[]): Promise<KeyUsage> {
  const attachments = new Map((await list()).map((one) => [one.path, one]));
  const paths = new Set(attachments.keys());
  const uses: KeyUse[] = [];
  const unreadable: Unreadable[] = [];
  for (const folder of folders) await addFiles(folder, NO_OBJECTS, paths, unreadable);
  await inTurns([...paths], async (path) => {
    const found = await encryptedAt(path);
    if (found === undefined) return;
    if ('why' in found) unreadable.push(found);
    else if (dependsOn(found, key)) uses.push(useOf(found, attachments.get(path)));
  });
  const byPath = (a: { path: string }, b: { path: string }) => (a.path < b.path ? -1 : 1);
  return { uses: uses.sort(byPath), unreadable: unreadable.sort(byPath) };
}

/** A key of the embedded KMS that is used through its network face has an ARN, which ends with the key's id. */
function dependsOn({ key }: Entry, { keyUri, keyId }: KeyNames): boolean {
  if (key?.uri === keyUri || key?.id === keyId) return true;
  return keyId !== undefined && key?.id.endsWith(`/${keyId}`) === true;
}

function useOf({ path, kind, id, name, sizeBytes, key }: Entry, attachment: Attachment | undefined): KeyUse {
  const service = attachment && {
    device: attachment.device,
    address: attachment.address,
    gate: attachment.gate,
    onKeyLoss: attachment.onKeyLoss,
  };
  const { uri: keyUri, version: keyVersion } = key ?? { uri: '', version: '' };
  return { path, kind, id, name, sizeBytes, keyUri, keyVersion, service: service ?? null };
}

/** The encrypted object at `path`, or why it cannot be read; a plain one depends on no key. */
async function encryptedAt(path: string): Promise<Entry | Unreadable | undefined> {
  const found = await entryAt(path);
  if (found === undefined) return undefined;
  // What is locked and no volume is some program's lock.
  if ('why' in found) return (await hasMagic(path)) ? found : undefined;
  return found.encrypted ? found : undefined;
}

/** Whether a volume begins there, or nobody can tell. */
async function hasMagic(path: string): Promise<boolean> {
  const file = await open(path).catch(() => undefined);
  try {
    const magic = MAGIC.primary;
    const read = await file?.read(Buffer.alloc(magic.length), 0, magic.length, 0).catch(() => undefined);
    return read?.buffer.equals(magic) ?? true;
  } finally {
    await file?.close();
  }
}

/** Adds the files and block devices in the folder and in those in it, through symbolic links to files; a folder may be none. */
async function addFiles(
  folder: string,
  passedOver: readonly string[],
  paths: Set<string>,
  unreadable: Unreadable[],
): Promise<void> {
  const names = await readdir(folder).catch((error) => {
    if (errnoOf(error) !== 'ENOENT') unreadable.push({ path: folder, why: errnoOf(error) });
    return [];
  });
  for (const name of names) {
    const path = join(folder, name);
    const link = await lstat(path).catch(() => undefined);
    const what = link?.isSymbolicLink() ? await stat(path).catch(() => undefined) : link;
    if (what?.isFile() || what?.isBlockDevice()) paths.add(path);
    else if (link?.isDirectory() && !passedOver.includes(name)) await addFiles(path, [], paths, unreadable);
  }
}
