/**
 * The `pkcs11:` provider: an AES key on a token or an HSM, by the library of its maker (PKCS#11 2.40) and pkcs11js.
 *
 * The data key is made here and wrapped on the token by CKM_AES_GCM with the encryption context as additional data. A key
 * is known by its CKA_ID; its label is what an alias is elsewhere. It has no versions: one that is to follow it is another
 * key, with another CKA_ID, that takes the label over, and `rewrap` moves a data key to the one that the URI names now.
 * CKA_DECRYPT=false is how an owner takes a key away, and true how it comes back.
 */

import type { ProviderScheme } from '../provider.js';
import { parsePkcs11 } from './pkcs11/uri.js';

export const pkcs11Scheme: ProviderScheme = {
  scheme: 'pkcs11',
  canonical: (uri) => parsePkcs11(uri).canonical,
  async open(uri, environment) {
    const { openPkcs11 } = await import('./pkcs11/provider.js');
    return openPkcs11(parsePkcs11(uri), environment);
  },
};
