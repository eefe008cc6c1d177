/**
 * A bad header copy, made again from the good one: only after the data key has proved the good one, for what stands in
 * the bad one's place may be worth more than a header that somebody planted.
 */

import { failureOf } from '../errors.js';
import type { KeyProvider } from '../kms/provider.js';
import type { Log } from '../log.js';
import { unwrapDataKey } from './envelope.js';
import { type DiskDescription, repairDisk } from './read.js';

/** Mends the header of `disk` where it needs it and can be had; else says why not, and the disk stays as it is. */
export async function mend(
  disk: DiskDescription,
  provider: KeyProvider,
  timeoutMs: number,
  log: Log,
): Promise<void> {
  if (disk.repair === 'none') return;
  let mended = false;
  const failure = await failureOf(async () => {
    (await unwrapDataKey(disk.header, provider, { timeoutMs })).wipe();
    mended = await repairDisk(disk);
  });
  log.warn(
    { event: 'header_copy_bad', copy: disk.repair, mended, ...(failure ? { code: failure.code } : {}) },
    `the ${disk.repair} header copy is bad${mended ? ' and was made again' : ''}`,
  );
}
