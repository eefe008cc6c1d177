/** Copies of a disk's file that the engine makes while the disk is in use (native/engine/copy_out.h), in catalogued errors. */

import { errnoOf, fail } from '../errors.js';

/** A copy of a disk's file as it is at one instant. Cancelled, it fails with ECANCELED. */
export interface EngineCopy {
  /** Resolves when the instant is over: how long requests were held, in ms; 0 for a copy that goes on. */
  readonly begun: Promise<number>;
  /** Resolves when all of it is on stable storage. */
  readonly done: Promise<void>;
  progress(): { readonly copiedBytes: bigint; readonly totalBytes: bigint };
  /** Nobody waits for it any more. Twice is fine. */
  cancel(): void;
}

export interface CopyTarget {
  readonly path: string;
  /** Which chunks have been copied; to lie in memory (/run). */
  readonly bitmapPath: string;
  /** Goes on with both, as a process that was killed left them; to be called before the disk goes live. */
  readonly resume?: boolean;
}

/** The same copy. Who waits for `done` alone, or for nothing, is no mistake. */
export function cataloguedCopy(native: EngineCopy, path: string): EngineCopy {
  const asDiskIo = (error: unknown) => fail('DISK_IO', { path, errno: errnoOf(error) }, error);
  const begun = native.begun.catch(asDiskIo);
  const done = native.done.catch(asDiskIo);
  begun.catch(() => {});
  done.catch(() => {});
  return { begun, done, progress: () => native.progress(), cancel: () => native.cancel() };
}
