/**
 * Durable files: a write is there whole or not at all, whenever the machine or the process stops.
 *
 * Write aside, fsync, rename, fsync the folder. All writers of a folder hold its lock, so what is found aside by the
 * holder of the lock was left by one that was killed, and may be swept away.
 */

import { constants } from 'node:fs';
import { type FileHandle, open, readdir, rename, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';

const ASIDE = '.new';

/** Whether a file of this name was left by a writer, or is being written. */
export const isAside = (name: string): boolean => name.endsWith(ASIDE);

/** Writes `bytes` to `path`, mode 0600. Resolves when they are on stable storage. */
export async function writeDurably(path: string, bytes: Buffer): Promise<void> {
  const aside = path + ASIDE;
  const file = await open(aside, 'wx', 0o600);
  try {
    await writeAll(file, bytes);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(aside, path);
  await syncFolder(dirname(path));
}

async function writeAll(file: FileHandle, bytes: Buffer): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += (await file.write(bytes, done, bytes.length - done)).bytesWritten;
  }
}

export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Removes what killed writers left aside in `folder`. The caller holds the folder's lock. */
export async function sweep(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (isAside(name)) await unlink(join(folder, name));
  }
}
