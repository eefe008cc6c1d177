/**
 * A key of a transit engine behind the contract of src/kms/provider.ts: what is asked of Vault, and what its answers mean.
 * See src/kms/providers/hashivault.ts.
 */

import { randomFillSync } from 'node:crypto';
import { fail } from '../../../errors.js';
import { contextBytes } from '../../context.js';
import { HttpClient, type HttpReply } from '../../http.js';
import { Deadline } from '../../local/deadline.js';
import { allocSecret, freeSecret } from '../../local/secret.js';
import {
  type CallOptions,
  type CanRewrap,
  type CanWrap,
  type EncryptionContext,
  failureOfDescription,
  type GeneratedKey,
  type KeyDescription,
  type KeyProvider,
  type ProviderEnvironment,
  type SecretBytes,
  vouch,
  type WrappedKey,
} from '../../provider.js';
import { jsonWithSecret, takeSecret } from '../../secret-json.js';
import { vaultCredentials, vaultNamespace, vaultOrigin, vaultTls } from './credentials.js';
import { jsonOf, VaultSession, vaultErrors } from './session.js';
import type { VaultUri } from './uri.js';

/** Key types that take associated data. */
const AEAD_TYPES = ['aes128-gcm96', 'aes256-gcm96', 'chacha20-poly1305', 'xchacha20-poly1305'];
const PLAINTEXT_MAX_BYTES = 4096;
const VERSION = /^[1-9]\d{0,9}$/;

/** What Vault says, by which a 400 is told. */
const MISSING = /encryption key not found/;
const TOO_OLD = /too old/;
const TOO_NEW = /too new/;
const NOT_OURS = /invalid ciphertext|message authentication failed|invalid base64|missing ciphertext/;

/** Fails with KMS_SETTING or KMS_NOT_VOUCHED; Vault is asked nothing yet. */
export async function openVault(
  uri: VaultUri,
  environment: ProviderEnvironment,
): Promise<KeyProvider & CanRewrap & CanWrap> {
  const { env } = environment;
  const own = vaultOrigin(env);
  const expected = 'https://HOST[:PORT] of Vault, or addr= in the key URI';
  const origin =
    uri.addr ?? own ?? fail('KMS_SETTING', { setting: 'VAULT_ADDR', found: 'not set', expected });
  vouch(environment, origin === own, `the Vault server ${origin}`, 'VAULT_ADDR');
  const keyUri = uri.canonical;
  const none = (why: string): never => fail('KMS_CREDENTIALS', { keyUri, why });
  const http = new HttpClient(origin, keyUri, await vaultTls(env));
  const namespace = uri.namespace || vaultNamespace(env);
  const session = new VaultSession(http, vaultCredentials(env, none), namespace, keyUri);
  return new VaultProvider(uri, namespace, http, session);
}

class VaultProvider implements KeyProvider, CanRewrap, CanWrap {
  readonly keyUri: string;
  /** Vault's keys have no id but their place. */
  readonly #keyId: string;

  constructor(
    private readonly uri: VaultUri,
    namespace: string,
    private readonly http: HttpClient,
    private readonly session: VaultSession,
  ) {
    this.keyUri = uri.canonical;
    this.#keyId = [namespace, uri.mount, uri.key].filter((part) => part !== '').join('/');
  }

  async generateDataKey(
    sizeBytes: number,
    context: EncryptionContext,
    options: CallOptions,
  ): Promise<GeneratedKey> {
    const deadline = new Deadline(options.timeoutMs, this.keyUri);
    const plaintext = allocSecret(sizeBytes);
    try {
      randomFillSync(plaintext);
      return { plaintext, wrapped: await this.#encrypt(plaintext, context, deadline) };
    } catch (error) {
      freeSecret(plaintext);
      throw error;
    }
  }

  async unwrap(wrapped: WrappedKey, context: EncryptionContext, options: CallOptions): Promise<SecretBytes> {
    return this.#decrypt(wrapped, context, new Deadline(options.timeoutMs, this.keyUri));
  }

  async wrap(plaintext: SecretBytes, context: EncryptionContext, options: CallOptions): Promise<WrappedKey> {
    return this.#encrypt(plaintext, context, new Deadline(options.timeoutMs, this.keyUri));
  }

  async rewrap(wrapped: WrappedKey, context: EncryptionContext, options: CallOptions): Promise<WrappedKey> {
    const deadline = new Deadline(options.timeoutMs, this.keyUri);
    const plaintext = await this.#decrypt(wrapped, context, deadline);
    try {
      return await this.#encrypt(plaintext, context, deadline);
    } finally {
      freeSecret(plaintext);
    }
  }

  async describeKey(keyId: string | undefined, options: CallOptions): Promise<KeyDescription> {
    if (keyId !== undefined && keyId !== this.#keyId) fail('KMS_KEY_NOT_FOUND', { keyUri: this.keyUri });
    return this.#describe(new Deadline(options.timeoutMs, this.keyUri));
  }

  async close(): Promise<void> {
    this.http.close();
  }

  async #describe(deadline: Deadline): Promise<KeyDescription> {
    const path = `${this.uri.mount}/keys/${this.uri.key}`;
    const reply = await this.session.ask({ method: 'GET', path }, deadline);
    const data = jsonOf(reply)?.data as Record<string, unknown> | undefined;
    if (reply.status !== 200) return this.#fail(reply);
    const oldest = data?.min_decryption_version ?? 0;
    if (typeof data?.type !== 'string' || typeof oldest !== 'number') {
      return this.#badReply('it describes no key');
    }
    if (!AEAD_TYPES.includes(data.type) || data.derived === true) {
      const found = data.derived === true ? 'a derived key' : 'of a type without associated data';
      fail('KMS_UNSUPPORTED_KEY', { keyUri: this.keyUri, found, expected: AEAD_TYPES.join(', ') });
    }
    return {
      keyId: this.#keyId,
      state: data.soft_deleted === true ? 'pendingDeletion' : 'enabled',
      serviceKey: false,
      withdrawn: (keyVersion) => Number(keyVersion) < oldest,
    };
  }

  /** Asks for the key first: encrypting with one that does not exist makes it, where the policy lets us. */
  async #encrypt(
    plaintext: SecretBytes,
    context: EncryptionContext,
    deadline: Deadline,
  ): Promise<WrappedKey> {
    const failure = failureOfDescription(await this.#describe(deadline), undefined, this.keyUri);
    if (failure) throw failure;
    const fields = { associated_data: contextBytes(context).toString('base64') };
    const body = (): Buffer => jsonWithSecret(fields, 'plaintext', plaintext);
    const path = `${this.uri.mount}/encrypt/${this.uri.key}`;
    const reply = await this.session.ask({ method: 'POST', path, body }, deadline);
    if (reply.status !== 200) return this.#fail(reply);
    const { ciphertext } = (jsonOf(reply)?.data ?? {}) as Record<string, unknown>;
    const [, keyVersion, base64] =
      /^vault:v([1-9]\d{0,9}):([A-Za-z0-9+/]+={0,2})$/.exec(String(ciphertext)) ?? [];
    if (keyVersion === undefined || base64 === undefined) return this.#badReply('it gives no ciphertext');
    return { keyId: this.#keyId, keyVersion, ciphertext: Buffer.from(base64, 'base64') };
  }

  async #decrypt(wrapped: WrappedKey, context: EncryptionContext, deadline: Deadline): Promise<SecretBytes> {
    if (!VERSION.test(wrapped.keyVersion) || wrapped.keyId !== this.#keyId) {
      fail('KMS_INVALID_CIPHERTEXT', { keyUri: this.keyUri });
    }
    const base64 = Buffer.from(wrapped.ciphertext).toString('base64');
    const fields = {
      ciphertext: `vault:v${wrapped.keyVersion}:${base64}`,
      associated_data: contextBytes(context).toString('base64'),
    };
    const body = (): Buffer => Buffer.from(JSON.stringify(fields));
    const path = `${this.uri.mount}/decrypt/${this.uri.key}`;
    const reply = await this.session.ask({ method: 'POST', path, body }, deadline);
    if (reply.status !== 200) return this.#failDecrypt(reply, deadline);
    try {
      return takeSecret(reply.body, 'plaintext', PLAINTEXT_MAX_BYTES) ?? this.#badReply('it gives no key');
    } finally {
      reply.body.fill(0);
    }
  }

  /** A refusal in words that we do not know may be of a key that was taken away: its description says. */
  async #failDecrypt(reply: HttpReply, deadline: Deadline): Promise<never> {
    const known = (vaultErrors(reply) ?? []).some((text) =>
      [MISSING, TOO_OLD, TOO_NEW, NOT_OURS].some((is) => is.test(text)),
    );
    if (reply.status === 400 && !known && vaultErrors(reply) !== undefined) {
      const failure = failureOfDescription(await this.#describe(deadline), undefined, this.keyUri);
      if (failure) throw failure;
    }
    return this.#fail(reply);
  }

  /** The failure that Vault words. Fails with KMS_BAD_REPLY when it did not word it. */
  #fail(reply: HttpReply): never {
    const { keyUri } = this;
    const errors = vaultErrors(reply);
    if (errors === undefined) return this.#badReply(`HTTP ${reply.status} is not in Vault's words`);
    const text = errors.join('\n');
    if (reply.status === 404 || MISSING.test(text)) return fail('KMS_KEY_NOT_FOUND', { keyUri });
    if (TOO_OLD.test(text)) return fail('KMS_KEY_DISABLED', { keyUri });
    if (TOO_NEW.test(text)) {
      return fail('KMS_SERVER_ERROR', { keyUri, why: 'it does not have that key version yet' });
    }
    if (NOT_OURS.test(text)) return fail('KMS_INVALID_CIPHERTEXT', { keyUri });
    return this.#badReply(`HTTP ${reply.status} for a reason that is not known`);
  }

  #badReply(why: string): never {
    return fail('KMS_BAD_REPLY', { keyUri: this.keyUri, why });
  }
}
