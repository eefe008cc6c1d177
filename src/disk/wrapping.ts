/**
 * The wrapping of a data key in a header: made anew, proved, written.
 *
 * Kept true: what is written was unwrapped by the provider that made it, and the key that came of it has proved the header
 * (digest and `header_mac`); a header cut while it is written opens by one wrapping or the other (src/luks2/copies.ts). The
 * data key and the payload stay as they are.
 */

import { fail } from '../errors.js';
import { canWrap, type KeyProvider, type SecretBytes, type WrappedKey } from '../kms/provider.js';
import { type SealdiskToken, tokenOf, withToken } from '../luks2/token.js';
import { contextOfHeader, unwrapDataKey } from './envelope.js';
import { KMS_TIMEOUT_MS } from './patience.js';
import type { DiskDescription } from './read.js';
import { type HeaderLock, rewriteHeader } from './rewrite.js';

/** Which key wraps, and what it made, as a token records it. */
export type Wrapping = Pick<SealdiskToken, 'keyUri' | 'keyId' | 'keyVersion' | 'wrappedKey'>;

export const wrappingOf = ({ keyId, keyVersion, ciphertext }: WrappedKey, keyUri: string): Wrapping => ({
  keyUri,
  keyId,
  keyVersion,
  wrappedKey: Buffer.from(ciphertext),
});

/** `dataKey`, which stays the caller's, wrapped by `provider`. DISK_REWRAP where its KMS wraps only what it makes. */
export async function wrapUnder(
  { path, header }: DiskDescription,
  provider: KeyProvider,
  dataKey: SecretBytes,
): Promise<WrappedKey> {
  if (!canWrap(provider)) {
    const scheme = provider.keyUri.split(':')[0];
    return fail('DISK_REWRAP', { path, why: `a ${scheme}: key wraps only data keys that it makes itself` });
  }
  return provider.wrap(dataKey, contextOfHeader(header), { timeoutMs: KMS_TIMEOUT_MS });
}

/** Proves the wrapping, then writes it; the disk as its header says it then. DISK_*, LUKS2_*, KMS_*: nothing was written. */
export async function writeWrapping(
  disk: DiskDescription,
  provider: KeyProvider,
  wrapping: Wrapping,
  lock: HeaderLock,
): Promise<DiskDescription> {
  const { keyUri, keyId, keyVersion, wrappedKey } = wrapping;
  const wrapped = (token: SealdiskToken) => ({ ...token, keyUri, keyId, keyVersion, wrappedKey });
  // The MAC is not over the wrapping: the header that is to be proves itself as the one that is there.
  const header = withToken(disk.header, wrapped(disk.token));
  const key = await unwrapDataKey(header, provider, { timeoutMs: KMS_TIMEOUT_MS });
  try {
    const written = await rewriteHeader(
      disk.path,
      key,
      (present) => ({ ...present, token: wrapped(present.token) }),
      lock,
    );
    return { ...disk, header: written, token: tokenOf(written) };
  } finally {
    key.wipe();
  }
}
