/**
 * Whoever made one call, with the rights of the access key that signed it.
 *
 * Kept true: a call uses the very key that its rights were checked on. Where rights are bound to keys a name is resolved
 * once, the check is made on what it names, and the key's id goes on from there, so that an alias moved in between
 * changes nothing. What is refused stands in the audit log, too.
 */

import { fail } from '../../errors.js';
import { type AccessKey, allows } from '../local/access-keys.js';
import { appendAudit } from '../local/audit.js';
import type { LocalCallOptions, LocalKms } from '../local/local-kms.js';
import { parseLocal } from '../local/ref.js';

export class Caller {
  /** For every call of LocalKms. */
  readonly options: LocalCallOptions;

  constructor(
    readonly kms: LocalKms,
    /** The folder of `kms`. */
    private readonly dir: string,
    readonly accessKey: AccessKey,
    timeoutMs: number,
  ) {
    this.options = { timeoutMs, caller: `access-key ${accessKey.accessKeyId}` };
  }

  /** Fails with KMS_ACCESS_DENIED unless `operation`, which is about no single key, is allowed. */
  async mayDo(operation: string): Promise<void> {
    if (!allows(this.accessKey.allow, operation)) await this.#deny(operation, '');
  }

  /**
   * Fails with KMS_ACCESS_DENIED unless `operation` is allowed on the key that `ref` (alias or key id) names. What to use
   * from here on instead of `ref`.
   */
  async mayUse(operation: string, ref: string): Promise<string> {
    const { allow } = this.accessKey;
    if (allows(allow, operation)) return ref;
    const named = parseLocal(ref).ref;
    if (named.kind === 'keyId' && allows(allow, operation, { keyId: named.keyId, aliases: [] })) return ref;
    // Whether a key exists is told only to those who may use some key so.
    const some = allow.find((rule) => rule.key !== null && allows([{ ...rule, key: null }], operation));
    const key = some && (await this.kms.describeKey(ref, this.options));
    if (key === undefined || !allows(allow, operation, key)) return this.#deny(operation, ref);
    return key.keyId;
  }

  async #deny(operation: string, key: string): Promise<never> {
    const { accessKeyId } = this.accessKey;
    const who = `access-key ${accessKeyId}`;
    const entry = { operation, key, outcome: 'KMS_ACCESS_DENIED', who };
    await appendAudit(this.dir, entry, false).catch(() => undefined);
    return fail('KMS_ACCESS_DENIED', { keyUri: key, why: `access key ${accessKeyId} may not ${operation}` });
  }
}
