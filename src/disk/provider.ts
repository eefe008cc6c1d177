/**
 * The KMS that a disk is opened with: the one its token names, or the one its owner names.
 *
 * A token is written by whoever can write the file: it may name a stranger's KMS, with a stranger's data key that proves
 * a stranger's header. Only the owner's own word tells it apart. With `expectedKey` no other KMS is asked for anything,
 * and the key that the owner named must be the one that wrapped.
 */

import { fail } from '../errors.js';
import type { KeyProvider, ProviderEnvironment } from '../kms/provider.js';
import { openProvider } from '../kms/registry.js';
import type { Log } from '../log.js';
import { KMS_TIMEOUT_MS, patiently } from './patience.js';
import type { DiskDescription } from './read.js';

export interface KeyChoice extends ProviderEnvironment {
  /** Key URI that the owner expects; null: whatever the disk names. */
  readonly expectedKey: string | null;
  /** How long to wait for a KMS that does not answer. */
  readonly kmsWaitMs: number;
}

/** The provider; the caller closes it. Fails with DISK_OTHER_KEY, KEY_URI_* or KMS_*. */
export async function providerFor(
  disk: Pick<DiskDescription, 'path' | 'token'>,
  choice: KeyChoice,
  log: Log,
): Promise<KeyProvider> {
  const { expectedKey } = choice;
  if (expectedKey === null) return openProvider(disk.token.keyUri, choice);
  const provider = await openProvider(expectedKey, { ...choice, namedByOwner: true });
  try {
    const ask = () => provider.describeKey(undefined, { timeoutMs: KMS_TIMEOUT_MS });
    const { keyId } = await patiently(choice.kmsWaitMs, log, ask);
    if (keyId === disk.token.keyId) return provider;
    return fail('DISK_OTHER_KEY', { path: disk.path, found: disk.token.keyId, expected: keyId });
  } catch (error) {
    await provider.close();
    throw error;
  }
}
