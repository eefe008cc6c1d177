/** The length of a file that holds an object. */

import type { FileHandle } from 'node:fs/promises';
import { fail } from '../errors.js';
import { orDiskIo } from '../luks2/file.js';

/** Makes the file `sizeBytes` long; what is new is a hole. DISK_IO. */
export async function setFileSize(file: FileHandle, path: string, sizeBytes: bigint): Promise<void> {
  // More than Node can say is more than any file system holds.
  if (sizeBytes > BigInt(Number.MAX_SAFE_INTEGER)) fail('DISK_IO', { path, errno: 'EFBIG' });
  await orDiskIo(path, file.truncate(Number(sizeBytes)));
}
