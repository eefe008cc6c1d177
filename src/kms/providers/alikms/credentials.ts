/**
 * Credentials as Alibaba's own package finds, keeps and renews them: its default chain.
 *
 * The chain stays with the last provider that it tried, also when that failed: so one that failed is thrown away, and the
 * next call asks all of them again.
 */

import { SealdiskError } from '../../../errors.js';
import type { Deadline } from '../../local/deadline.js';
import { optional } from '../../optional.js';

export interface AliCredentials {
  readonly accessKeyId: string;
  readonly accessKeySecret: string;
  /** Of temporary ones. */
  readonly securityToken: string | undefined;
}

interface Chain {
  getCredential(): Promise<Partial<AliCredentials>>;
}

export class CredentialChain {
  #chain: Chain | undefined;

  private constructor(private readonly make: () => Chain) {}

  /** Fails with KMS_PACKAGE. */
  static async load(): Promise<CredentialChain> {
    const name = '@alicloud/credentials';
    const loaded = await optional('alikms', name, () => quietly(() => import('@alicloud/credentials')));
    // A CommonJS module: whoever loads it may have put one `default` around another.
    type Maker = new () => Chain;
    const { default: inner } = loaded as unknown as { default: Maker | { default: Maker } };
    const Maker = 'default' in inner ? inner.default : inner;
    return new CredentialChain(() => new Maker());
  }

  /** Fails with KMS_CREDENTIALS, or KMS_TIMEOUT. */
  async current(deadline: Deadline): Promise<AliCredentials> {
    const { keyUri } = deadline;
    try {
      this.#chain ??= this.make();
      const chain = this.#chain;
      const found = await deadline.bound(
        () => chain.getCredential(),
        () => undefined,
      );
      const { accessKeyId, accessKeySecret, securityToken } = found;
      if (accessKeyId && accessKeySecret) {
        return { accessKeyId, accessKeySecret, securityToken: securityToken || undefined };
      }
    } catch (error) {
      if (error instanceof SealdiskError) throw error;
      // Its text may hold what a metadata server said.
    }
    this.#chain = undefined;
    throw new SealdiskError('KMS_CREDENTIALS', { keyUri, why: 'the SDK of Alibaba Cloud finds none' });
  }
}

/**
 * What it loads tells, by the `debug` package, whoever sets DEBUG all that it sends and gets: secrets and tokens, on
 * standard error and so in the journal. It asks for DEBUG once, when it is loaded.
 */
async function quietly<T>(load: () => Promise<T>): Promise<T> {
  const { DEBUG } = process.env;
  delete process.env.DEBUG;
  try {
    return await load();
  } finally {
    if (DEBUG !== undefined) process.env.DEBUG = DEBUG;
  }
}
