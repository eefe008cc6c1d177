/** Bulk work on a disk as its owner sees it: how far it is, and an end to it on request. */

import { type TransformOptions, transform } from '../engine/transform.js';
import { fail } from '../errors.js';

export interface BulkProgress {
  readonly phase: 'copy' | 'verify' | 'encrypt' | 'rekey';
  readonly doneBytes: bigint;
  readonly totalBytes: bigint;
}

export interface BulkOptions {
  /** How long one answer of a KMS is waited for. */
  readonly timeoutMs: number;
  /** Called a few times a second while there is something to tell, and at the end of each phase. */
  readonly onProgress?: (progress: BulkProgress) => void;
  /** Ends the work with CONVERT_CANCELLED. */
  readonly signal?: AbortSignal;
}

const TELL_EVERY_MS = 200;

/** Runs one piece of a phase: `before` of its `total` bytes are done already. Fails as `transform` does. */
export async function runPiece(
  piece: TransformOptions,
  phase: BulkProgress['phase'],
  { onProgress, signal }: BulkOptions,
  beforeBytes = 0n,
  totalBytes = piece.sizeBytes,
): Promise<void> {
  if (signal?.aborted) fail('CONVERT_CANCELLED', { path: piece.to.path });
  const work = transform(piece);
  const tell = () => onProgress?.({ phase, doneBytes: beforeBytes + work.progress(), totalBytes });
  const timer = setInterval(tell, TELL_EVERY_MS);
  const cancel = () => work.cancel();
  signal?.addEventListener('abort', cancel);
  try {
    await work.done;
    tell();
  } finally {
    clearInterval(timer);
    signal?.removeEventListener('abort', cancel);
  }
}
