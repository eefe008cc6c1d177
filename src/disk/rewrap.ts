/**
 * A disk's data key under the newest version of the key that wraps it, or under another key: the data stays as it is.
 *
 * Kept true: one that is in service goes on serving, and asks about the key that wraps from then on; where nothing would
 * change nothing is written. How a wrapping is proved and written: src/disk/wrapping.ts.
 */

import { fail } from '../errors.js';
import { freeSecret } from '../kms/local/secret.js';
import { canRewrap, canWrap, type KeyProvider, type ProviderEnvironment } from '../kms/provider.js';
import { openProvider } from '../kms/registry.js';
import { contextOfHeader, wrappedKeyOf } from './envelope.js';
import { KMS_TIMEOUT_MS } from './patience.js';
import { type DiskDescription, readDisk } from './read.js';
import { type LabelChange, relabelHeader } from './relabel.js';
import type { HeaderLock } from './rewrite.js';
import type { ServedDisk } from './served-disk.js';
import { type Wrapping, wrappingOf, wrapUnder, writeWrapping } from './wrapping.js';

export interface RewrapWish {
  /** Canonical URI of the key to wrap under; null: the one that wraps now. */
  readonly keyUri: string | null;
  /** Write a new wrapping of the same version, too: some KMSs do not tell their versions. */
  readonly force: boolean;
}

/** A wrapping as it is shown: not what was wrapped. */
export type WrappedBy = Pick<Wrapping, 'keyUri' | 'keyId' | 'keyVersion'>;

export interface Rewrapped extends WrappedBy {
  readonly uuid: string;
  readonly path: string;
  /** False: it was so already, and nothing was written. */
  readonly changed: boolean;
  readonly was: WrappedBy;
}

const SOON = { timeoutMs: KMS_TIMEOUT_MS };

/** Rewraps a disk that nobody serves. Fails with DISK_*, LUKS2_*, KEY_URI_* or KMS_*; then nothing was changed. */
export async function rewrapDetached(
  path: string,
  wish: RewrapWish,
  environment: ProviderEnvironment,
): Promise<Rewrapped> {
  const disk = await readDisk(path);
  const namedByOwner = wish.keyUri === disk.token.keyUri;
  const from = await openProvider(disk.token.keyUri, { ...environment, namedByOwner });
  try {
    const to = await wishedFor(wish, from, environment);
    try {
      const now = await rewrap(disk, from, to, wish, { lock: 'take', pinned: false });
      return rewrapped(disk, now);
    } finally {
      if (to !== from) await to.close();
    }
  } finally {
    await from.close();
  }
}

/** What serves a disk beside the engine, as a new wrapping has to know it. */
export interface HeaderFront {
  readonly environment: ProviderEnvironment;
  /** The owner named the key that must wrap: a server that takes over refuses every other. */
  readonly pinned: boolean;
  /** Records the disk as it is by now. */
  show(): Promise<void>;
}

/** Writes the header of a disk in service, one time after the other. */
export class HeaderKeeper {
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly served: ServedDisk,
    private readonly front: HeaderFront,
  ) {}

  /** Fails with DISK_REWRAP, DISK_IO, LUKS2_*, KEY_URI_* or KMS_*; then the disk is as it was. */
  rewrap(wish: RewrapWish): Promise<Rewrapped> {
    const next = this.#last.then(() => this.#rewrap(wish));
    this.#last = next.catch(() => {});
    return next;
  }

  /** Another name or other tags. Fails with DISK_LABEL, DISK_IO, LUKS2_* or KMS_*; then the disk is as it was. */
  relabel(change: LabelChange): Promise<void> {
    const next = this.#last.then(() => this.#relabel(change));
    this.#last = next.catch(() => {});
    return next;
  }

  async #relabel(change: LabelChange): Promise<void> {
    const { served, front } = this;
    if (served.readOnly) {
      const found = 'in the header of a disk that is served read-only';
      fail('DISK_LABEL', { field: 'label', found, expected: 'one that may be written' });
    }
    const now = await relabelHeader(served.disk, change, served.provider, 'held');
    await served.headerWritten(now, served.provider);
    await front.show();
  }

  async #rewrap(wish: RewrapWish): Promise<Rewrapped> {
    const { served, front } = this;
    const { disk, provider } = served;
    if (served.readOnly) fail('DISK_REWRAP', { path: disk.path, why: 'it is served read-only' });
    const to = await wishedFor(wish, provider, front.environment);
    let now: DiskDescription | undefined;
    try {
      now = await rewrap(disk, provider, to, wish, { lock: 'held', pinned: front.pinned });
    } finally {
      if (!now && to !== provider) await to.close();
    }
    if (now) {
      await served.headerWritten(now, to);
      await front.show();
    }
    return rewrapped(disk, now);
  }
}

const wishedFor = async (
  { keyUri }: RewrapWish,
  from: KeyProvider,
  environment: ProviderEnvironment,
): Promise<KeyProvider> =>
  keyUri === null ? from : openProvider(keyUri, { ...environment, namedByOwner: true });

const rewrapped = (was: DiskDescription, now: DiskDescription | undefined): Rewrapped => ({
  uuid: was.header.uuid,
  path: was.path,
  changed: now !== undefined,
  ...wrappedBy(now ?? was),
  was: wrappedBy(was),
});

const wrappedBy = ({ token: { keyUri, keyId, keyVersion } }: DiskDescription): WrappedBy => ({
  keyUri,
  keyId,
  keyVersion,
});

interface Terms {
  readonly lock: HeaderLock;
  readonly pinned: boolean;
}

/** The disk as its header says it then; undefined when nothing was to be written. */
async function rewrap(
  disk: DiskDescription,
  from: KeyProvider,
  to: KeyProvider,
  { keyUri, force }: RewrapWish,
  terms: Terms,
): Promise<DiskDescription | undefined> {
  const { token, path } = disk;
  const other = keyUri !== null && (await to.describeKey(undefined, SOON)).keyId !== token.keyId;
  if (other && terms.pinned) {
    fail('DISK_REWRAP', { path, why: 'it is in service with --key, which pins the key that wraps' });
  }
  const wrapped = other ? await bring(disk, from, to) : await renew(disk, from);
  const moved = keyUri !== null || wrapped.keyId !== token.keyId;
  const wrapping = wrappingOf(wrapped, moved ? to.keyUri : token.keyUri);
  const same = (['keyUri', 'keyId', 'keyVersion'] as const).every((name) => wrapping[name] === token[name]);
  return same && !force ? undefined : writeWrapping(disk, to, wrapping, terms.lock);
}

/** Under the newest version of the key that wraps. */
function renew(disk: DiskDescription, from: KeyProvider) {
  if (!canRewrap(from)) return bring(disk, from, from);
  return from.rewrap(wrappedKeyOf(disk.token), contextOfHeader(disk.header), SOON);
}

/** Under the key that `to` names; the data key passes through locked memory here. */
async function bring(disk: DiskDescription, from: KeyProvider, to: KeyProvider) {
  const context = contextOfHeader(disk.header);
  // A label may be another key's by now, and its KMS may wrap only by itself.
  if (!canWrap(to) && canRewrap(to) && to.keyUri === from.keyUri) {
    return to.rewrap(wrappedKeyOf(disk.token), context, SOON);
  }
  const dataKey = await from.unwrap(wrappedKeyOf(disk.token), context, SOON);
  try {
    return await wrapUnder(disk, to, dataKey);
  } finally {
    freeSecret(dataKey);
  }
}
