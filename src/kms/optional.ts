/**
 * Packages that only one key provider needs. They are optional peers, which the user of that provider installs, so they
 * are loaded when a key of its scheme is opened and not before.
 */

import { fail } from '../errors.js';

const MISSING = ['ERR_MODULE_NOT_FOUND', 'MODULE_NOT_FOUND'];

/**
 * What `load` imports: `optional('awskms', '@aws-sdk/client-kms', () => import('@aws-sdk/client-kms'))`. Fails with
 * KMS_PACKAGE when it is not installed; a package that is there and broken fails as it does.
 */
export async function optional<T>(scheme: string, name: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    // A package may lack one of its own, which is another fault: the message names the one that was looked for.
    const missing = code !== undefined && MISSING.includes(code) && message.includes(`'${name}'`);
    if (missing) fail('KMS_PACKAGE', { scheme, package: name }, error);
    throw error;
  }
}
