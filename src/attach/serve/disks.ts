/**
 * Which disks one server serves, and by which names.
 *
 * A target is a disk, or a folder, which stands for every sealdisk disk in it, plain ones too; what else lies there is passed over, but a
 * damaged disk is not. A single disk has the export name that was asked for; of several each has its own: the name in its
 * token, or else that of its file without the extension. Names and disks are all different.
 */

import { readdir, stat } from 'node:fs/promises';
import { join, parse } from 'node:path';
import { NO_DISK_OF_OURS, readObject, type StoredObject } from '../../disk/object.js';
import { about, errnoOf, fail, isFailure } from '../../errors.js';

export interface NamedDisk {
  readonly name: string;
  readonly disk: StoredObject;
}

/** USAGE for a name of several disks; undefined targets are several. */
export function checkExportName(
  targets: readonly string[] | undefined,
  exportName: string | undefined,
): void {
  if (targets?.length === 1 || exportName === undefined) return;
  fail('USAGE', { what: '--export-name is for a single disk; several are named by their tokens or files' });
}

/** Fails with DISK_*, LUKS2_* or USAGE. `exportName` is for a single disk only. */
export async function findDisks(
  targets: readonly string[],
  exportName: string | undefined,
): Promise<NamedDisk[]> {
  const folders = await Promise.all(targets.map(isFolder));
  const single = targets.length === 1 && !folders[0];
  if (!single) checkExportName(undefined, exportName);
  const found = await Promise.all(targets.map((path, i) => (folders[i] ? disksIn(path) : [readNamed(path)])));
  const disks = await Promise.all(found.flat());
  const named = disks.map((disk) => ({ disk, name: single ? (exportName ?? '') : ownName(disk) }));
  refuseTwins(named, 'uuid', ({ disk }) => disk.uuid);
  refuseTwins(named, 'export name', ({ name }) => name);
  return named;
}

const ownName = ({ label, path }: StoredObject): string => label.name || parse(path).name;

function refuseTwins(all: readonly NamedDisk[], what: string, keyOf: (one: NamedDisk) => string): void {
  const seen = new Map<string, string>();
  for (const one of all) {
    const key = keyOf(one);
    const twin = seen.get(key);
    if (twin !== undefined) {
      fail('USAGE', { what: `${twin} and ${one.disk.path} have the same ${what}, "${key}"` });
    }
    seen.set(key, one.disk.path);
  }
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return false; // whoever opens it says what is wrong with it
  }
}

/** The disks in a folder, by name; not those of folders in it. */
async function disksIn(dir: string): Promise<StoredObject[]> {
  const names = await readdir(dir).catch((error) =>
    fail('DISK_IO', { path: dir, errno: errnoOf(error) }, error),
  );
  const found = await Promise.all(names.sort().map((name) => diskOrNothing(join(dir, name))));
  const disks = found.filter((disk) => disk !== undefined);
  return disks.length > 0 ? disks : fail('DISK_NOT_FOUND', { path: join(dir, '*') });
}

async function diskOrNothing(path: string): Promise<StoredObject | undefined> {
  const what = await stat(path).catch(() => undefined);
  if (!what?.isFile() && !what?.isBlockDevice()) return undefined;
  try {
    return await readNamed(path);
  } catch (error) {
    if (isFailure(error, ...NO_DISK_OF_OURS)) return undefined;
    throw error;
  }
}

/** One of several: its failure says which. */
const readNamed = (path: string): Promise<StoredObject> =>
  readObject(path).catch((error) => {
    throw about(path, error);
  });
