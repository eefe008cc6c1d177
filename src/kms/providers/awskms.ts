/**
 * The `awskms:` provider: AWS KMS, and whatever speaks its protocol.
 *
 * Credentials are found as the AWS SDK finds them (environment, profile, SSO, web identity, container, instance), never
 * in the URI. The encryption context binds a data key to its disk, and a rewrap is ReEncrypt: no plaintext comes here for
 * it. AWS does not tell which version of a key wrapped, so that is always 1.
 */

import type { ProviderScheme } from '../provider.js';
import { parseAwsKms } from './awskms/uri.js';

export const awskmsScheme: ProviderScheme = {
  scheme: 'awskms',
  canonical: (uri) => parseAwsKms(uri).canonical,
  async open(uri, environment) {
    const { openAwsKms } = await import('./awskms/provider.js');
    return openAwsKms(parseAwsKms(uri), environment);
  },
};
