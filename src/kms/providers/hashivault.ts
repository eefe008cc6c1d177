/**
 * The `hashivault:` provider: the transit engine of HashiCorp Vault or OpenBao.
 *
 * The data key is made here and encrypted there, bound to its disk as associated data, which `transit/datakey` and
 * `transit/rewrap` do not take: so a rewrap is a decryption and an encryption. A wrapped key is the ciphertext without
 * its `vault:vN:`, N being the key version of the token.
 *
 * Vault has no call that disables a key. Taken away it is by its policy (denied), by a `min_decryption_version` above
 * the version that wrapped (withdrawn: as disabled), by OpenBao's soft delete (pending deletion), or for good.
 */

import type { ProviderScheme } from '../provider.js';
import { parseVault } from './hashivault/uri.js';

export const hashivaultScheme: ProviderScheme = {
  scheme: 'hashivault',
  canonical: (uri) => parseVault(uri).canonical,
  async open(uri, environment) {
    // Node's HTTP takes a while to load: only who has such a key pays for it.
    const { openVault } = await import('./hashivault/provider.js');
    return openVault(parseVault(uri), environment);
  },
};
