/**
 * A file that is made aside and comes to its name when it is whole.
 *
 * Kept true: nothing ever stands half made under the name, and nothing in the place of another. The aside file lies in the
 * same folder under a hidden name, locked for as long as somebody makes it; one that nobody holds any more was left by a
 * killed process, and goes when the next file of that name is made.
 */

import { randomUUID } from 'node:crypto';
import { type FileHandle, link, lstat, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { errnoOf, fail, isFailure } from '../errors.js';
import { orDiskIo } from '../luks2/file.js';
import { takeLock } from '../luks2/lock.js';

export interface Aside {
  readonly file: FileHandle;
  /** Its own, hidden name. */
  readonly path: string;
}

const UUID_LENGTH = 36;

type How = 'new' | 'replace';

/**
 * Runs `make` with an empty file, which gets the name `path` when `make` has ended well and it is on stable storage; with
 * `replace` in the place of the file that has it. DISK_EXISTS, DISK_IO.
 */
export async function madeAside<T>(
  path: string,
  make: (aside: Aside) => Promise<T>,
  how: How = 'new',
): Promise<T> {
  const aside = await openAside(path, how);
  try {
    const made = await make(aside);
    await orDiskIo(path, synced(aside.path));
    await publish(aside.path, path, how);
    return made;
  } finally {
    await rm(aside.path, { force: true });
    await aside.file.close();
  }
}

/** By its name: `make` may have put another file there. */
async function synced(path: string): Promise<void> {
  const file = await open(path, 'r+');
  await file.sync().finally(() => file.close());
}

async function openAside(path: string, how: How): Promise<Aside> {
  try {
    if (how === 'new' && (await lstat(path).catch(() => undefined))) fail('DISK_EXISTS', { path });
    await sweep(path);
    for (;;) {
      const aside = join(dirname(path), `.${basename(path)}.${randomUUID()}`);
      const file = await open(aside, 'wx+', 0o600);
      await takeLock(file.fd, path, 'exclusive');
      // A sweep may have come between the two.
      if ((await file.stat()).nlink > 0) return { file, path: aside };
      await file.close();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error;
    fail('DISK_IO', { path, errno: errnoOf(error) }, error);
  }
}

/** Removes what killed processes left of files of this name. */
async function sweep(path: string): Promise<void> {
  const prefix = `.${basename(path)}.`;
  const left = (name: string) => name.startsWith(prefix) && name.length === prefix.length + UUID_LENGTH;
  for (const name of (await readdir(dirname(path))).filter(left)) {
    const aside = join(dirname(path), name);
    const file = await open(aside).catch(() => undefined);
    if (file === undefined) continue;
    try {
      await takeLock(file.fd, aside, 'exclusive', 0);
      await rm(aside, { force: true });
    } catch (error) {
      // Somebody is making it.
      if (!isFailure(error, 'DISK_IN_USE')) throw error;
    } finally {
      await file.close();
    }
  }
}

/** link(2) refuses a name that is taken, which rename(2) would replace. */
async function publish(aside: string, path: string, how: How): Promise<void> {
  try {
    await (how === 'new' ? link(aside, path) : rename(aside, path));
    const folder = await open(dirname(path));
    await folder.sync().finally(() => folder.close());
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'EEXIST') fail('DISK_EXISTS', { path }, error);
    fail('DISK_IO', { path, errno }, error);
  }
}
