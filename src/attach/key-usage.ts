/**
 * What depends on a key: the disks, snapshots and images in pools whose tokens name it, and what is in service under it
 * wherever its file lies.
 *
 * Only headers are read, and nothing is asked of a KMS. What is no sealdisk object is passed over; one that cannot be read
 * is told, for it may depend on the key.
 */

import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type DiskDescription, readDisk } from '../disk/read.js';
import { errnoOf, fail, isFailure, type SealdiskError } from '../errors.js';
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
  readonly unreadable: readonly { readonly path: string; readonly why: string }[];
}

/** How many headers are read at once. */
const AT_ONCE = 16;
/** Folders in a pool that hold no objects. */
const NO_OBJECTS = ['kms', 'lost+found'];

/** What depends on `key`, in `folders` and in service. Fails with DISK_IO for a folder that cannot be read. */
export async function usageOf(key: KeyNames, folders: readonly string[]): Promise<KeyUsage> {
  const attachments = new Map((await list()).map((one) => [one.path, one]));
  const paths = new Set(attachments.keys());
  for (const folder of folders) for (const path of await filesIn(folder)) paths.add(path);
  const uses: KeyUse[] = [];
  const unreadable: { path: string; why: string }[] = [];
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
async function objectAt(path: string): Promise<DiskDescription | { path: string; why: string } | undefined> {
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

async function hasMagic(path: string): Promise<boolean> {
  const file = await open(path);
  try {
    const { buffer } = await file.read(Buffer.alloc(MAGIC.primary.length), 0, MAGIC.primary.length, 0);
    return buffer.equals(MAGIC.primary);
  } finally {
    await file.close();
  }
}

/** Ordinary files in the folder and in those in it; none where there is no folder. */
async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error) => {
    if (errnoOf(error) === 'ENOENT') return [];
    return fail('DISK_IO', { path: folder, errno: errnoOf(error) }, error);
  });
  const found: string[] = [];
  for (const entry of entries) {
    const path = join(folder, entry.name);
    if (entry.isFile()) found.push(path);
    else if (entry.isDirectory() && !NO_OBJECTS.includes(entry.name)) found.push(...(await filesIn(path)));
  }
  return found;
}

async function inTurns<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values();
  const worker = async (): Promise<void> => {
    for (const item of rest) await work(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}
