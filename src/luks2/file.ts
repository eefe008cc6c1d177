/**
 * The three things that header I/O does to a file, as an interface: a test cuts the sequence at any of them.
 * Short reads mean the end of the file; a short write goes on; the errno of a failure is kept.
 */

import { fdatasync, read, write } from 'node:fs';
import { promisify } from 'node:util';
import { errnoOf, fail } from '../errors.js';

export interface HeaderFile {
  /** As many of the `sizeBytes` at `offsetBytes` as the file has. */
  read(offsetBytes: number, sizeBytes: number): Promise<Buffer>;
  write(offsetBytes: number, bytes: Buffer): Promise<void>;
  /** Returns when everything written is on stable storage. */
  sync(): Promise<void>;
}

const readAt = promisify(read);
const writeAt = promisify(write);
const dataSync = promisify(fdatasync);

/** The file behind `fd`, which stays the caller's. */
export function fileOf(fd: number): HeaderFile {
  return {
    async read(offsetBytes, sizeBytes) {
      const bytes = Buffer.alloc(sizeBytes);
      let done = 0;
      while (done < sizeBytes) {
        const { bytesRead } = await readAt(fd, bytes, done, sizeBytes - done, offsetBytes + done);
        if (bytesRead === 0) break;
        done += bytesRead;
      }
      return bytes.subarray(0, done);
    },
    async write(offsetBytes, bytes) {
      let done = 0;
      while (done < bytes.length) {
        const { bytesWritten } = await writeAt(fd, bytes, done, bytes.length - done, offsetBytes + done);
        done += bytesWritten;
      }
    },
    sync: () => dataSync(fd),
  };
}

/** `io`'s result, or DISK_IO with the errno it failed with. */
export async function orDiskIo<T>(path: string, io: Promise<T>): Promise<T> {
  try {
    return await io;
  } catch (error) {
    return fail('DISK_IO', { path, errno: errnoOf(error) }, error);
  }
}
