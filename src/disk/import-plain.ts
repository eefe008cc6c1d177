/** A raw file taken in as a plain object: its content in a file with a label of its own. */

import { fail, isFailure } from '../errors.js';
import { withLock } from '../luks2/lock.js';
import { madeAside } from './aside.js';
import { openBacking, sizeOf } from './backing.js';
import { cloneFile } from './clone.js';
import { setFileSize } from './file-size.js';
import { NO_DISK_OF_OURS, readObject, type StoredObject } from './object.js';
import { type NewPlain, newLabel, PLAIN_SECTOR_BYTES, writeLabel } from './plain.js';
import { readDisk } from './read.js';

/** Makes `plain` of the file at `path`, which stays. DISK_EXISTS, DISK_LABEL, DISK_IN_USE, DISK_IO. */
export async function importPlain(path: string, plain: NewPlain): Promise<StoredObject> {
  await refuseEncrypted(path);
  const named = newLabel(plain);
  const file = await openBacking(path, 'read');
  try {
    const sizeBytes = await sizeOf(file, path);
    if (sizeBytes === 0n) fail('DISK_TOO_SMALL', { path, found: 0, expected: 1 });
    await madeAside(plain.path, async (aside) => {
      await withLock(file.fd, path, 'shared', () => cloneFile(path, aside.path));
      const rest = sizeBytes % PLAIN_SECTOR_BYTES;
      if (rest > 0n) await setFileSize(aside.file, plain.path, sizeBytes + PLAIN_SECTOR_BYTES - rest);
      writeLabel(aside.path, named);
    });
  } finally {
    await file.close();
  }
  return readObject(plain.path);
}

/** A disk of ours that became a plain one would be ciphertext served as data. */
async function refuseEncrypted(path: string): Promise<void> {
  try {
    await readDisk(path);
  } catch (error) {
    if (isFailure(error, ...NO_DISK_OF_OURS, 'DISK_TOO_SMALL')) return;
    throw error;
  }
  fail('DISK_DERIVE', { path, why: 'it is an encrypted disk: copy it into the pool as it is' });
}
