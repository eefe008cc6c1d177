/**
 * A header written again: the bad copy from the good one, or both with something changed.
 *
 * Kept true: what is written was read under the lock that it is written under, and proved there by the data key in
 * hand; for what is overwritten may be worth more than a header that somebody planted.
 */

import type { DataKey } from '../engine/engine.js';
import { readHeader, repairHeader, writeHeader } from '../luks2/copies.js';
import { orDiskIo } from '../luks2/file.js';
import type { Luks2Header } from '../luks2/header.js';
import { withLock } from '../luks2/lock.js';
import { type SealdiskToken, tokenOf, withToken } from '../luks2/token.js';
import { openBacking } from './backing.js';
import { proveHeader, sealOf } from './envelope.js';

/** Writes the copy that is bad or older again, where there is one. DISK_IN_USE, DISK_IO, LUKS2_*. */
export async function repairCopy(path: string, key: DataKey): Promise<void> {
  await underLock(path, async (fd) => {
    const { header, repair } = await readHeader(fd, path);
    if (repair === 'none') return;
    await proveHeader(header, key);
    await repairHeader(fd, path, header, repair);
  });
}

/** What `change` may give another value; the rest of the header is kept. */
export interface HeaderChange {
  readonly token: SealdiskToken;
  readonly flags: readonly string[];
}

/** Writes both copies of the header as `change` has it, one generation on; as written. DISK_IN_USE, DISK_IO, LUKS2_*. */
export async function rewriteHeader(
  path: string,
  key: DataKey,
  change: (present: HeaderChange) => HeaderChange,
  lock: HeaderLock = 'take',
): Promise<Luks2Header> {
  return underLock(
    path,
    async (fd) => {
      const { header } = await readHeader(fd, path);
      await proveHeader(header, key);
      return writeHeader(fd, path, sealed(changed(header, change), key));
    },
    lock,
  );
}

/** `held`: this process serves the disk, and the lock that it holds keeps every other writer away. */
export type HeaderLock = 'take' | 'held';

async function underLock<T>(
  path: string,
  work: (fd: number) => Promise<T>,
  lock: HeaderLock = 'take',
): Promise<T> {
  const file = await openBacking(path, 'write');
  try {
    if (lock === 'held') return await work(file.fd);
    return await withLock(file.fd, path, 'exclusive', () => work(file.fd));
  } finally {
    await orDiskIo(path, file.close());
  }
}

function changed(header: Luks2Header, change: (present: HeaderChange) => HeaderChange): Luks2Header {
  const { config } = header.metadata;
  const present = { token: tokenOf(header), flags: config.flags ?? [] };
  const { token, flags } = change(present);
  const metadata = { ...header.metadata, config: flags.length > 0 ? { ...config, flags } : config };
  return withToken({ ...header, metadata }, { ...token, generation: present.token.generation + 1 });
}

const sealed = (header: Luks2Header, key: DataKey): Luks2Header =>
  withToken(header, { ...tokenOf(header), headerMac: sealOf(header, key) });
