/**
 * What is written to a header before its disk is served: a bad copy made again, and the leave to have holes.
 *
 * Kept true: nothing is written before the data key has proved the header, nothing for a read-only disk, and nothing by a
 * server that takes a device over. A bad copy is mended where that can be had; without the leave for holes that
 * `discard` asks for, nothing is served.
 */

import type { DataKey } from '../engine/engine.js';
import { failureOf } from '../errors.js';
import type { KeyProvider } from '../kms/provider.js';
import type { Log } from '../log.js';
import { ALLOW_DISCARDS } from '../luks2/metadata.js';
import { unwrapDataKey } from './envelope.js';
import { KMS_TIMEOUT_MS, patiently } from './patience.js';
import { type DiskDescription, readDisk } from './read.js';
import { type HeaderChange, repairCopy, rewriteHeader } from './rewrite.js';

export interface ReadyOptions {
  readonly readOnly: boolean;
  readonly discard: boolean;
  readonly takeover: boolean;
  readonly kmsWaitMs: number;
}

/** The disk as it is to be served. Fails with DISK_IN_USE, DISK_IO, LUKS2_* or KMS_* when it may not get its holes. */
export async function ready(
  disk: DiskDescription,
  provider: KeyProvider,
  options: ReadyOptions,
  log: Log,
): Promise<DiskDescription> {
  if (options.readOnly || options.takeover) return disk;
  if (disk.repair !== 'none') await mend(disk, provider, log);
  if (!options.discard || disk.holes) return disk;
  await patiently(options.kmsWaitMs, log, () =>
    withKey(disk, provider, (key) => rewriteHeader(disk.path, key, withHoles)),
  );
  log.info({ event: 'holes_allowed', uuid: disk.header.uuid }, 'the disk may have holes from now on');
  return readDisk(disk.path);
}

const withHoles = ({ token, flags }: HeaderChange): HeaderChange => ({
  token: { ...token, holes: true },
  flags: flags.includes(ALLOW_DISCARDS) ? flags : [...flags, ALLOW_DISCARDS],
});

/** Mends the header where it can be had; else says why not, and the disk stays as it is. */
async function mend(disk: DiskDescription, provider: KeyProvider, log: Log): Promise<void> {
  const failure = await failureOf(() => withKey(disk, provider, (key) => repairCopy(disk.path, key)));
  const mended = failure === undefined;
  log.warn(
    { event: 'header_copy_bad', copy: disk.repair, mended, ...(failure ? { code: failure.code } : {}) },
    `the ${disk.repair} header copy is bad${mended ? ' and was made again' : ''}`,
  );
}

async function withKey<T>(
  disk: DiskDescription,
  provider: KeyProvider,
  work: (key: DataKey) => Promise<T>,
): Promise<T> {
  const key = await unwrapDataKey(disk.header, provider, { timeoutMs: KMS_TIMEOUT_MS });
  try {
    return await work(key);
  } finally {
    key.wipe();
  }
}
