/**
 * The `kmip:` provider: an AES key of a KMIP server, by KMIP 1.4 over mutual TLS.
 *
 * The data key is made here and wrapped by the server's Encrypt in GCM mode with the encryption context as additional
 * data. A key is known by its Unique Identifier; a Name is what an alias is elsewhere. A managed object has no versions:
 * what Re-Key makes of it is another object, which takes the Name over, and `rewrap` moves a data key to the one that the
 * URI names now.
 *
 * Kept true: a data key is given out only while its key's State is Active, whatever the server does: the specification
 * lets it decrypt with a key that was revoked. Pre-Active is disabled until somebody activates it.
 */

import type { ProviderScheme } from '../provider.js';
import { parseKmip } from './kmip/uri.js';

export const kmipScheme: ProviderScheme = {
  scheme: 'kmip',
  canonical: (uri) => parseKmip(uri).canonical,
  async open(uri, environment) {
    // Node's TLS takes a while to load: only who has such a key pays for it.
    const { openKmip } = await import('./kmip/provider.js');
    return openKmip(parseKmip(uri), environment);
  },
};
