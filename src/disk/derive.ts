/**
 * An object made from another: a snapshot of a disk, a disk from a snapshot, a copy.
 *
 * Its payload is the source's, byte for byte; an encrypted one has the same data key under the same wrapping, with an
 * identity, labels and a header seal of its own. The data key is asked of the KMS for that, so what is made under a revoked
 * key is nothing. What must not share a data key is made by convert.ts instead.
 */

import { randomUUID } from 'node:crypto';
import { fail } from '../errors.js';
import type { KeyProvider } from '../kms/provider.js';
import { writeHeader } from '../luks2/copies.js';
import type { Luks2Header } from '../luks2/header.js';
import { type ObjectKind, objectIdOf } from '../luks2/label.js';
import { withLock } from '../luks2/lock.js';
import { tokenOf, withToken } from '../luks2/token.js';
import { type Aside, madeAside } from './aside.js';
import { openBacking } from './backing.js';
import { cloneFile } from './clone.js';
import { sealOf, unwrapDataKey } from './envelope.js';
import { setFileSize } from './file-size.js';
import { readingLock, readObject, type StoredObject } from './object.js';
import { KMS_TIMEOUT_MS } from './patience.js';
import { newLabel, writeLabel } from './plain.js';

export interface Derived {
  readonly path: string;
  readonly kind: ObjectKind;
  readonly name: string;
  /** Id of what it is made from. */
  readonly source: string;
  readonly tags: Readonly<Record<string, string>>;
  /** Payload bytes, at least those of the source; undefined: as many. */
  readonly sizeBytes?: bigint;
}

/** Makes the file at `toPath`, which is there and empty, the file of `source`; or puts another there that is. */
export type Bring = (source: StoredObject, toPath: string) => Promise<void>;

/**
 * Makes the object. `provider` unwraps the data key of an encrypted source. Fails with DISK_EXISTS, DISK_RESIZE, DISK_IO,
 * LUKS2_* or KMS_*; then nothing was made.
 */
export async function derive(
  source: StoredObject,
  derived: Derived,
  provider: KeyProvider | undefined,
  bring: Bring = bringDetached,
): Promise<StoredObject> {
  checkSize(source, derived.sizeBytes);
  await madeAside(derived.path, async (aside) => {
    await bring(source, aside.path);
    const file = await openBacking(aside.path, 'write');
    try {
      await identify(source, derived, provider, { file, path: aside.path });
      const more = (derived.sizeBytes ?? source.sizeBytes) - source.sizeBytes;
      if (more > 0n) await setFileSize(file, derived.path, BigInt((await file.stat()).size) + more);
    } finally {
      await file.close();
    }
  });
  return readObject(derived.path);
}

/**
 * Puts the payload of `source` in the place of the payload of `disk`, which nobody serves and which keeps its identity and
 * labels. As `derive`, and with DISK_IN_USE.
 */
export async function restore(
  source: StoredObject,
  disk: StoredObject,
  provider: KeyProvider | undefined,
): Promise<StoredObject> {
  const { path } = disk;
  if ((source.encrypted === undefined) !== (disk.encrypted === undefined)) {
    fail('DISK_DERIVE', { path, why: 'of the two one is encrypted and one is plain' });
  }
  const file = await openBacking(path, 'write');
  try {
    await withLock(file.fd, path, 'exclusive', () =>
      madeAside(path, (aside) => restoreInto(aside, source, disk, provider), 'replace'),
    );
  } finally {
    await file.close();
  }
  return readObject(path);
}

async function restoreInto(
  aside: Aside,
  source: StoredObject,
  disk: StoredObject,
  provider: KeyProvider | undefined,
): Promise<void> {
  await bringDetached(source, aside.path);
  const { uuid, label } = disk;
  if (source.encrypted === undefined) return writeLabel(aside.path, { uuid, label });
  const generation = (disk.encrypted?.token.generation ?? 0) + 1;
  await writeIdentity(source, aside, provider, disk.path, (header) => ({
    uuid,
    token: { ...tokenOf(header), ...labelOf(disk), generation },
  }));
}

const labelOf = ({ label: { object, name, source, createdAt, tags } }: StoredObject) => ({
  object,
  name,
  source,
  createdAt,
  tags,
});

/** Under a lock that keeps away whoever would write. */
export async function bringDetached(source: StoredObject, toPath: string): Promise<void> {
  const file = await openBacking(source.path, 'read');
  try {
    const mode = readingLock(source.label.object.kind);
    await withLock(file.fd, source.path, mode, () => cloneFile(source.path, toPath));
  } finally {
    await file.close();
  }
}

async function identify(
  source: StoredObject,
  derived: Derived,
  provider: KeyProvider | undefined,
  aside: Aside,
): Promise<void> {
  if (source.encrypted === undefined) return writeLabel(aside.path, newLabel(derived));
  const uuid = randomUUID();
  const { kind, name, source: from, tags } = derived;
  const object = { kind, id: objectIdOf(kind, uuid) };
  const createdAt = new Date().toISOString();
  await writeIdentity(source, aside, provider, derived.path, (header) => ({
    uuid,
    token: { ...tokenOf(header), object, name, source: from, createdAt, tags, generation: 0 },
  }));
}

type Identity = { uuid: string; token: ReturnType<typeof tokenOf> };

/** Writes the source's header as another object's. */
async function writeIdentity(
  source: StoredObject,
  aside: Aside,
  provider: KeyProvider | undefined,
  path: string,
  identityOf: (header: Luks2Header) => Identity,
): Promise<void> {
  const { header } = source.encrypted ?? fail('INTERNAL', { what: 'a header of a plain object' });
  if (provider === undefined) return fail('INTERNAL', { what: 'no provider for an encrypted object' });
  const key = await unwrapDataKey(header, provider, { timeoutMs: KMS_TIMEOUT_MS });
  try {
    const { uuid, token } = identityOf(header);
    const wrappedFor = tokenOf(header).wrappedFor || header.uuid;
    const named = withToken(
      { ...header, uuid },
      { ...token, wrappedFor: wrappedFor === uuid ? '' : wrappedFor },
    );
    const sealed = withToken(named, { ...tokenOf(named), headerMac: sealOf(named, key) });
    await writeHeader(aside.file.fd, path, sealed);
  } finally {
    key.wipe();
  }
}

/** DISK_DERIVE for what would be smaller than its source. */
export function checkSize(source: StoredObject, sizeBytes: bigint | undefined): void {
  if (sizeBytes === undefined || sizeBytes >= source.sizeBytes) return;
  const why = `${sizeBytes} bytes are fewer than the ${source.sizeBytes} of ${source.path}`;
  fail('DISK_DERIVE', { path: source.path, why });
}
