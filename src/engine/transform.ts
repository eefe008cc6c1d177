/**
 * Bulk work on a payload: copied from one place to another, each in the clear or under a data key, or the two compared.
 *
 * The typed face of native/convert. It runs on threads of its own; a place is a descriptor, duplicated at the call, and an
 * offset, so the same file may be both. Nothing is synced: the caller says when. No plaintext enters JavaScript.
 */

import { fail } from '../errors.js';
import { type DataKey, engine } from './engine.js';

/** Where a payload lies. */
export interface Place {
  /** Names the place in an error. */
  readonly path: string;
  /** Stays the caller's. */
  readonly fd: number;
  /** Of the payload's first byte in the file. */
  readonly offsetBytes: bigint;
  readonly sectorSize: 512 | 4096;
  /** Left out: the payload lies there in the clear. */
  readonly key?: DataKey;
  /** A sector of nothing but zeros is a hole, which reads as zeros; only with a key. */
  readonly holes?: boolean;
}

export interface TransformOptions {
  readonly work: 'copy' | 'compare';
  readonly from: Place;
  readonly to: Place;
  /** The range, in bytes of the payload: whole sectors of both places. */
  readonly beginBytes: bigint;
  readonly sizeBytes: bigint;
  /** So many bytes of the payload `from` has; the rest of the range is zeros. All, when left out. */
  readonly fromBytes?: bigint;
  /** What is a hole in `from` is not written: `to` reads as zeros there already. */
  readonly keepHoles?: boolean;
  /** Before a comparison: `to`, which is synced, is read from the storage, not from memory. */
  readonly reread?: boolean;
}

export interface Transform {
  /** Fails with DISK_IO of the place that failed, CONVERT_DIFFERS or CONVERT_CANCELLED; some of the range may be done then. */
  readonly done: Promise<void>;
  /** Bytes of the range that are through. */
  progress(): bigint;
  cancel(): void;
}

export interface NativeTransform {
  readonly done: Promise<TransformEnd>;
  progress(): bigint;
  cancel(): void;
}

interface TransformEnd {
  readonly reason: 'done' | 'cancelled' | 'from' | 'to' | 'differs';
  readonly errno: string;
  /** Of the payload: where what failed begins; the first byte that differs. */
  readonly atBytes: bigint;
}

/** Begins the work; fails with ENGINE_SYSTEM when there is no memory for it. */
export function transform(options: TransformOptions): Transform {
  const native = engine().transform(options);
  return {
    done: native.done.then((end) => judge(options, end)),
    progress: () => native.progress(),
    cancel: () => native.cancel(),
  };
}

function judge({ from, to }: TransformOptions, { reason, errno, atBytes }: TransformEnd): void {
  if (reason === 'done') return;
  if (reason === 'cancelled') fail('CONVERT_CANCELLED', { path: to.path });
  if (reason === 'differs') fail('CONVERT_DIFFERS', { path: to.path, atBytes });
  const [path, doing] = reason === 'from' ? [from.path, 'reading'] : [to.path, 'working'];
  fail('DISK_IO', { path, errno: `${errno} (${doing} at byte ${atBytes} of its data)` });
}
