/**
 * A key of Alibaba Cloud KMS, behind the contract.
 *
 * Alibaba's package finds the credentials; the request is signed (ACS3) and sent here. So a reply is bounded, the deadline
 * holds, what is no JSON is a failure with a name, and a plaintext is taken out of the reply's Buffer into secure memory
 * before the reply is parsed: no string of it is ever made.
 */

import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { errnoOf, fail, isFailure } from '../../../errors.js';
import { ACS3, acs3Signature, canonicalQuery, hexHash } from '../../acs.js';
import { HttpClient } from '../../http.js';
import { Deadline } from '../../local/deadline.js';
import { freeSecret } from '../../local/secret.js';
import {
  type CallOptions,
  type CanRewrap,
  type EncryptionContext,
  type GeneratedKey,
  type KeyDescription,
  type KeyProvider,
  type KeyState,
  type ProviderEnvironment,
  type SecretBytes,
  vouch,
  type WrappedKey,
} from '../../provider.js';
import { takeSecret } from '../../secret-json.js';
import { isLoopback } from '../../uri.js';
import { type AliCredentials, CredentialChain } from './credentials.js';
import { failureOf } from './failures.js';
import type { AliKmsUri } from './uri.js';

/** What a reply holds, and the secret that was taken out of it. */
interface Answer {
  readonly members: Readonly<Record<string, unknown>>;
  readonly secret: SecretBytes | undefined;
}

const VERSION = '2016-01-20';
const PLAINTEXT_MAX_BYTES = 6144;
const ENDPOINT = 'SEALDISK_ALIKMS_ENDPOINT';
const CA_FILE = 'SEALDISK_ALIKMS_CA_FILE';
const USAGE = 'ENCRYPT/DECRYPT';

const STATES: Readonly<Record<string, KeyState>> = {
  Enabled: 'enabled',
  Disabled: 'disabled',
  PendingDeletion: 'pendingDeletion',
  PendingImport: 'pendingImport',
};

/** Fails with KMS_PACKAGE, KMS_NOT_VOUCHED or KMS_SETTING. Asks nobody anything. */
export async function openAliKms(
  uri: AliKmsUri,
  environment: ProviderEnvironment,
): Promise<KeyProvider & CanRewrap> {
  const { env } = environment;
  const host = new URL(uri.origin).host;
  // A security token goes with every request, and a key comes back: not to a server on another machine that only the disk's
  // file names.
  const known = uri.isAlibaba || env[ENDPOINT] === host || isLoopback(uri.origin);
  vouch(environment, known, `a KMS endpoint, ${host}`, ENDPOINT);
  const ca = await caOf(env[CA_FILE]);
  const http = new HttpClient(uri.origin, uri.canonical, ca === undefined ? {} : { ca });
  return new AliKmsProvider(uri, http, await CredentialChain.load());
}

async function caOf(path: string | undefined): Promise<Buffer | undefined> {
  if (path === undefined || path === '') return undefined;
  return readFile(path).catch((error) =>
    fail('KMS_SETTING', { setting: CA_FILE, found: errnoOf(error), expected: 'a PEM file' }),
  );
}

class AliKmsProvider implements KeyProvider, CanRewrap {
  readonly keyUri: string;

  constructor(
    private readonly uri: AliKmsUri,
    private readonly http: HttpClient,
    private readonly chain: CredentialChain,
  ) {
    this.keyUri = uri.canonical;
  }

  async generateDataKey(
    sizeBytes: number,
    context: EncryptionContext,
    options: CallOptions,
  ): Promise<GeneratedKey> {
    const { members, secret } = await this.#ask(
      'GenerateDataKey',
      {
        KeyId: this.uri.key,
        NumberOfBytes: String(sizeBytes),
        ...contextField('EncryptionContext', context),
      },
      options,
    );
    const wrapped = wrappedOf(members);
    if (wrapped !== undefined && secret?.length === sizeBytes) return { plaintext: secret, wrapped };
    freeSecret(secret);
    return this.#badReply('it gives no data key of the size that was asked for');
  }

  async unwrap(wrapped: WrappedKey, context: EncryptionContext, options: CallOptions): Promise<SecretBytes> {
    this.#checkOrigin(wrapped);
    const deadline = new Deadline(options.timeoutMs, this.keyUri);
    const { members, secret } = await this.#decrypt(wrapped, context, deadline);
    if (secret !== undefined && members.KeyId === wrapped.keyId) return secret;
    freeSecret(secret);
    const other = secret !== undefined && typeof members.KeyId === 'string';
    return other
      ? fail('KMS_INVALID_CIPHERTEXT', { keyUri: this.keyUri })
      : this.#badReply('it gives no data key');
  }

  async rewrap(wrapped: WrappedKey, context: EncryptionContext, options: CallOptions): Promise<WrappedKey> {
    this.#checkOrigin(wrapped);
    const { members } = await this.#ask(
      'ReEncrypt',
      {
        CiphertextBlob: base64(wrapped),
        DestinationKeyId: this.uri.key,
        ...contextField('SourceEncryptionContext', context),
        ...contextField('DestinationEncryptionContext', context),
      },
      options,
    );
    return wrappedOf(members) ?? this.#badReply('it gives no ciphertext');
  }

  async describeKey(keyId: string | undefined, options: CallOptions): Promise<KeyDescription> {
    const { members } = await this.#ask('DescribeKey', { KeyId: keyId ?? this.uri.key }, options);
    const key = (members.KeyMetadata ?? {}) as Record<string, unknown>;
    if (typeof key.KeyId !== 'string' || typeof key.KeyState !== 'string') {
      return this.#badReply('it describes no key');
    }
    const { keyUri } = this;
    if ((key.KeyUsage ?? USAGE) !== USAGE) {
      fail('KMS_UNSUPPORTED_KEY', { keyUri, found: 'one that signs', expected: 'a symmetric key' });
    }
    const state = STATES[key.KeyState] ?? fail('KMS_SERVER_ERROR', { keyUri, why: 'the key is not ready' });
    // Accounts are numbers; the keys of services are made in the services' names.
    const serviceKey = typeof key.Creator === 'string' && !/^\d*$/.test(key.Creator);
    return { keyId: key.KeyId, state, serviceKey };
  }

  async close(): Promise<void> {
    this.http.close();
  }

  /** An alias may have moved since a key was wrapped, a key's own id cannot. An empty ciphertext nobody would even read. */
  #checkOrigin({ keyId, ciphertext }: WrappedKey): void {
    const other = this.uri.keyId !== undefined && keyId !== this.uri.keyId;
    if (other || ciphertext.length === 0) fail('KMS_INVALID_CIPHERTEXT', { keyUri: this.keyUri });
  }

  /** The key that is not there is the one that the ciphertext names: when ours is, the ciphertext was altered. */
  async #decrypt(wrapped: WrappedKey, context: EncryptionContext, deadline: Deadline): Promise<Answer> {
    const fields = { CiphertextBlob: base64(wrapped), ...contextField('EncryptionContext', context) };
    try {
      return await this.#ask('Decrypt', fields, { timeoutMs: deadline.remainingMs });
    } catch (error) {
      if (!isFailure(error, 'KMS_KEY_NOT_FOUND')) throw error;
      await this.describeKey(wrapped.keyId, { timeoutMs: deadline.remainingMs });
      return fail('KMS_INVALID_CIPHERTEXT', { keyUri: this.keyUri });
    }
  }

  /** Fails as the contract says, at the deadline at the latest. */
  async #ask(
    operation: string,
    fields: Readonly<Record<string, string>>,
    { timeoutMs }: CallOptions,
  ): Promise<Answer> {
    const deadline = new Deadline(timeoutMs, this.keyUri);
    const credentials = await this.chain.current(deadline);
    const body = Buffer.from(canonicalQuery(new Map(Object.entries(fields))));
    const headers = this.#signed(operation, body, credentials);
    const reply = await this.http.send({ method: 'POST', path: '/', headers, body }, deadline);
    const { status } = reply;
    const secret = status === 200 ? takeSecret(reply.body, 'Plaintext', PLAINTEXT_MAX_BYTES) : undefined;
    const members = objectOf(reply.body);
    reply.body.fill(0);
    if (status === 200 && members !== undefined && !('Code' in members)) return { members, secret };
    freeSecret(secret);
    throw failureOf(reply, members, operation, this.keyUri);
  }

  #signed(
    operation: string,
    body: Buffer,
    { accessKeyId, accessKeySecret, securityToken }: AliCredentials,
  ): Record<string, string> {
    const bodyHash = hexHash(body);
    const headers = {
      'content-type': 'application/x-www-form-urlencoded',
      host: new URL(this.uri.origin).host,
      'x-acs-action': operation,
      'x-acs-content-sha256': bodyHash,
      'x-acs-date': `${new Date().toISOString().slice(0, 19)}Z`,
      'x-acs-signature-nonce': randomUUID(),
      'x-acs-version': VERSION,
      ...(securityToken !== undefined && {
        'x-acs-accesskey-id': accessKeyId,
        'x-acs-security-token': securityToken,
      }),
    };
    const names = Object.keys(headers).sort();
    const signed = { method: 'POST', path: '/', query: new Map<string, string>(), headers, bodyHash };
    const signature = acs3Signature(signed, names, Buffer.from(accessKeySecret)).toString('hex');
    const authorization = `${ACS3} Credential=${accessKeyId},SignedHeaders=${names.join(';')},Signature=${signature}`;
    return { ...headers, accept: 'application/json', authorization };
  }

  #badReply(why: string): never {
    return fail('KMS_BAD_REPLY', { keyUri: this.keyUri, why });
  }
}

const base64 = ({ ciphertext }: WrappedKey): string => Buffer.from(ciphertext).toString('base64');

function contextField(name: string, context: EncryptionContext): Record<string, string> {
  return Object.keys(context).length === 0 ? {} : { [name]: JSON.stringify(context) };
}

function wrappedOf({ KeyId, KeyVersionId, CiphertextBlob }: Answer['members']): WrappedKey | undefined {
  if (typeof KeyId !== 'string' || typeof CiphertextBlob !== 'string' || CiphertextBlob === '')
    return undefined;
  const keyVersion = typeof KeyVersionId === 'string' && KeyVersionId !== '' ? KeyVersionId : '1';
  return { keyId: KeyId, keyVersion, ciphertext: Buffer.from(CiphertextBlob, 'base64') };
}

function objectOf(body: Buffer): Record<string, unknown> | undefined {
  try {
    const json: unknown = JSON.parse(body.toString('utf8'));
    const isObject = typeof json === 'object' && json !== null && !Array.isArray(json);
    return isObject ? (json as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
