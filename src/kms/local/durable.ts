/**
 * Durable files: a write is there whole or not at all, whenever the machine or the process stops.
 *
 * Write aside, fsync, rename, fsync the folder. All writers of a folder hold its lock, so what is found aside by the
 * holder of the lock was left by one that was killed, and may be swept away. A store has a folder for what is aside
 * (`aside/`), so that nobody looks through a hundred thousand records for it.
 */

import { constants } from 'node:fs';
import { type FileHandle, open, readdir, rename, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';

const ASIDE = '.new';

/** Whether a file of this name was left by a writer, or is being written. */
export const isAside = (name: string): boolean => name.endsWith(ASIDE);

/** A file to be put in its place: `aside` is where it is until then, on the same file system. */
export interface DurableWrite {
  readonly path: string;
  readonly bytes: Buffer;
  readonly aside: string;
}

/** Writes `bytes` to `path`, mode 0600. Resolves when they are on stable storage. */
export const writeDurably = (path: string, bytes: Buffer, aside = path + ASIDE): Promise<void> =>
  writeAllDurably([{ path, bytes, aside }]);

/** Several at once, each whole or not at all, for the price of few waits. */
export async function writeAllDurably(writes: readonly DurableWrite[]): Promise<void> {
  await Promise.all(writes.map(({ aside, bytes }) => writeSynced(aside, bytes)));
  for (const { aside, path } of writes) await rename(aside, path);
  for (const folder of new Set(writes.map(({ path }) => dirname(path)))) await syncFolder(folder);
}

/** A new file, mode 0600, on stable storage but for its name. */
export async function writeSynced(path: string, bytes: Buffer): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await writeAll(file, bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

export async function writeAll(file: FileHandle, bytes: Buffer): Promise<void> {
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

/**
 * Overwrites the file and removes it; one that has another name as well only loses this one. What the file system or the
 * drive keeps elsewhere, of this file or of those that stood in its place before, is out of reach.
 */
export async function shred(path: string): Promise<void> {
  const file = await open(path, constants.O_RDWR | constants.O_NOFOLLOW);
  try {
    const { nlink, size } = await file.stat();
    if (nlink === 1) {
      await writeAll(file, Buffer.alloc(size));
      await file.sync();
    }
  } finally {
    await file.close();
  }
  await unlink(path);
  await syncFolder(dirname(path));
}

/** Removes what killed writers left aside in `folder`, where every file that is aside has that ending. */
export async function sweep(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (isAside(name)) await shred(join(folder, name));
  }
}
