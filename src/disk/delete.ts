/**
 * The end of an object: its file goes, and where that is asked for its data key goes first.
 *
 * A crypto-erase overwrites both header copies and all keyslots before the file is unlinked, so that what is left of the
 * ciphertext on storage, on a copy-on-write file system too, has lost the wrapped key that lay with it. Whoever holds an older copy of
 * the header, or a snapshot, which has the same data key, still reads by it: only the master key's end reaches those.
 */

import { open, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf, fail } from '../errors.js';
import { fileOf, orDiskIo } from '../luks2/file.js';
import { withLock } from '../luks2/lock.js';
import { openBacking } from './backing.js';
import type { StoredObject } from './object.js';
import type { DiskDescription } from './read.js';

/** Deletes an object that nobody serves. DISK_IN_USE, DISK_PLAIN, DISK_IO. */
export async function deleteObject({ path, encrypted }: StoredObject, cryptoErase: boolean): Promise<void> {
  if (cryptoErase && !encrypted) fail('DISK_PLAIN', { path, what: 'it has no key to erase' });
  const file = await openBacking(path, 'write');
  try {
    await withLock(file.fd, path, 'exclusive', async () => {
      if (cryptoErase && encrypted) await eraseKeys(file.fd, encrypted);
      await unlinkHeld(path);
    });
  } finally {
    await file.close();
  }
}

/** Takes the name of a file away, for good, whose lock the caller holds. DISK_IO. */
export async function unlinkHeld(path: string): Promise<void> {
  await orDiskIo(path, unlink(path));
  const folder = await open(dirname(path));
  await folder.sync().finally(() => folder.close());
}

/** Zeros over the header copies, and over the keyslots where there are any. */
async function eraseKeys(fd: number, { path, header, offsetBytes }: DiskDescription): Promise<void> {
  const file = fileOf(fd);
  const keyslots = Object.keys(header.metadata.keyslots).length > 0;
  const endBytes = keyslots ? Number(offsetBytes) : 2 * header.hdrSizeBytes;
  const zeros = Buffer.alloc(1024 * 1024);
  try {
    for (let at = 0; at < endBytes; at += zeros.length) {
      await file.write(at, zeros.subarray(0, Math.min(zeros.length, endBytes - at)));
    }
    await file.sync();
  } catch (error) {
    fail('DISK_IO', { path, errno: errnoOf(error) }, error);
  }
}
