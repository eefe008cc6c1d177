/**
 * What depends on a key: the disks, snapshots and images in pools whose tokens name it, and what is in service under it
 * wherever its file lies.
 *
 * Only headers are read, and nothing is asked of a KMS. What is no sealdisk object is passed over; one that cannot be read
 * is told, for it may depend on the key.
 */

import { lstat, open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type DiskDescription, readDisk } from '../disk/read.js';
import { errnoOf, isFailure, type SealdiskError } from '../errors.js';
import { MAGIC } from '../luks2/header.js';
import { type Attachment, list } from './attachments.js';

export interface KeyNames {
  /** Canonical. */
  readonly keyUri: string;
  /** The KMS's own id of the key, where it is known: a token may name the key by another alias. */
  readonly keyId: string | undefined;
}

export interface KeyUse {
  readonly path: string;
  readonly kind: DiskDescription['token']['object']['kind'];
  readonly id: string;
  readonly name: string;
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

export interface Unreadable {
  readonly path: string;
  readonly why: string;
}

/** How many headers are read at once. */
const AT_ONCE = 16;
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
    const found = await objectAt(path);
    if (found === undefined) return;
    if ('why' in found) unreadable.push(found);
    else if (dependsOn(found, key)) uses.push(useOf(found, attachments.get(path)));
  });
  const byPath = (a: { path: string }, b: { path: string }) => (a.path < b.path ? -1 : 1);
  return { uses: uses.sort(byPath), unreadable: unreadable.sort(byPath) };
}

/** A key of the embedded KMS that is used through its network face has an ARN, which ends with the key's id. */
function dependsOn({ token }: DiskDescription, { keyUri, keyId }: KeyNames): boolean {
  if (token.keyUri === keyUri || token.keyId === keyId) return true;
  return keyId !== undefined && token.keyId.endsWith(`/${keyId}`);
}

function useOf({ path, token }: DiskDescription, attachment: Attachment | undefined): KeyUse {
  const { object, name, keyUri, keyVersion } = token;
  const service = attachment && {
    device: attachment.device,
    address: attachment.address,
    gate: attachment.gate,
    onKeyLoss: attachment.onKeyLoss,
  };
  return { path, kind: object.kind, id: object.id, name, keyUri, keyVersion, service: service ?? null };
}

/** The object at `path`, why it cannot be read, or undefined where none is. */
async function objectAt(path: string): Promise<DiskDescription | Unreadable | undefined> {
  try {
    return await readDisk(path);
  } catch (error) {
    if (isFailure(error, 'LUKS2_NOT_LUKS', 'LUKS2_VERSION', 'LUKS2_TOKEN_MISSING', 'DISK_NOT_FOUND')) {
      return undefined;
    }
    // What is locked and no volume is some program's lock.
    if (isFailure(error, 'DISK_IN_USE') && !(await hasMagic(path))) return undefined;
    return { path, why: (error as SealdiskError).message };
  }
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

async function inTurns<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values();
  const worker = async (): Promise<void> => {
    for (const item of rest) await work(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}
