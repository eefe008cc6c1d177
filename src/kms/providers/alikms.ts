/**
 * The `alikms:` provider: Alibaba Cloud KMS, and whatever speaks its protocol (2016-01-20).
 *
 * Credentials are found as Alibaba's own SDK finds them (environment, OIDC, its files, the RAM role of the ECS instance, a
 * credentials URI), never in the URI. The encryption context binds a data key to its disk, and a rewrap is ReEncrypt: no
 * plaintext comes here for it.
 */

import type { ProviderScheme } from '../provider.js';
import { parseAliKms } from './alikms/uri.js';

export const alikmsScheme: ProviderScheme = {
  scheme: 'alikms',
  canonical: (uri) => parseAliKms(uri).canonical,
  async open(uri, environment) {
    const { openAliKms } = await import('./alikms/provider.js');
    return openAliKms(parseAliKms(uri), environment);
  },
};
