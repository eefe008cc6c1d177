/**
 * A key of AWS KMS, behind the contract.
 *
 * The AWS SDK finds credentials, signs, retries and reads replies; the request itself goes through our own HTTP, at the
 * end of the SDK's chain. So a reply is bounded, the deadline holds through every retry, and a plaintext is taken out of
 * the reply's Buffer into secure memory before the SDK sees the reply: no string of it is ever made.
 */

import { readFile } from 'node:fs/promises';
import type { KMSClient, KMSClientConfig } from '@aws-sdk/client-kms';
import { errnoOf, fail, SealdiskError } from '../../../errors.js';
import { HttpClient, type HttpReply } from '../../http.js';
import { Deadline } from '../../local/deadline.js';
import { freeSecret } from '../../local/secret.js';
import { optional } from '../../optional.js';
import {
  type CallOptions,
  type CanRewrap,
  type EncryptionContext,
  failureOfState,
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
import { failureOf, isStateError } from './failures.js';
import type { AwsKmsUri } from './uri.js';

type Sdk = typeof import('@aws-sdk/client-kms');

/** A command of the SDK; each has types of its own. */
interface Command {
  readonly middlewareStack: unknown;
}

/** What a reply holds, and the secret that was taken out of it. */
interface Answer {
  readonly members: Readonly<Record<string, unknown>>;
  readonly secret: SecretBytes | undefined;
}

const PLAINTEXT_MAX_BYTES = 4096;
/** AWS does not tell which version wrapped. */
const KEY_VERSION = '1';
const ATTEMPTS_MAX = 3;

const STATES: Readonly<Record<string, KeyState>> = {
  Enabled: 'enabled',
  Updating: 'enabled',
  Disabled: 'disabled',
  PendingDeletion: 'pendingDeletion',
  PendingReplicaDeletion: 'pendingDeletion',
  PendingImport: 'pendingImport',
};

/** Fails with KMS_PACKAGE, KMS_NOT_VOUCHED or KMS_SETTING. Asks nobody anything. */
export async function openAwsKms(uri: AwsKmsUri, environment: ProviderEnvironment): Promise<KeyProvider> {
  const { env } = environment;
  // A session token goes with every request, and a key comes back: not to a server on
  // another machine that only the disk's file names.
  if (uri.endpoint !== undefined) {
    const { endpoint } = uri;
    const known = [env.AWS_ENDPOINT_URL_KMS, env.AWS_ENDPOINT_URL].some((url) => sameOrigin(url, endpoint));
    vouch(
      environment,
      known || isLoopback(endpoint),
      `an AWS endpoint, ${uri.endpoint}`,
      'AWS_ENDPOINT_URL_KMS',
    );
  }
  if (uri.profile !== undefined) {
    vouch(environment, env.AWS_PROFILE === uri.profile, `the AWS profile ${uri.profile}`, 'AWS_PROFILE');
  }
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true'; // a word for developers, not for operators
  const sdk = await optional('awskms', '@aws-sdk/client-kms', () => import('@aws-sdk/client-kms'));
  const config: KMSClientConfig = {
    region: uri.region,
    maxAttempts: ATTEMPTS_MAX,
    ...(uri.endpoint !== undefined && { endpoint: uri.endpoint }),
    ...(uri.profile !== undefined && { profile: uri.profile }),
  };
  return new AwsKmsProvider(uri, sdk, new sdk.KMSClient(config), await caOf(env));
}

const sameOrigin = (url: string | undefined, origin: string | undefined): boolean =>
  url !== undefined && URL.canParse(url) && new URL(url).origin === origin;

/** The CAs of AWS_CA_BUNDLE, as the other SDKs of AWS read it. */
async function caOf({ AWS_CA_BUNDLE: path }: NodeJS.ProcessEnv): Promise<Buffer | undefined> {
  if (path === undefined || path === '') return undefined;
  return readFile(path).catch((error) =>
    fail('KMS_SETTING', {
      setting: 'AWS_CA_BUNDLE',
      found: `${path} (${errnoOf(error)})`,
      expected: 'a PEM file',
    }),
  );
}

class AwsKmsProvider implements KeyProvider, CanRewrap {
  readonly keyUri: string;
  readonly #clients = new Map<string, HttpClient>();

  constructor(
    private readonly uri: AwsKmsUri,
    private readonly sdk: Sdk,
    private readonly client: KMSClient,
    private readonly ca: Buffer | undefined,
  ) {
    this.keyUri = uri.canonical;
  }

  async generateDataKey(
    sizeBytes: number,
    context: EncryptionContext,
    options: CallOptions,
  ): Promise<GeneratedKey> {
    const command = new this.sdk.GenerateDataKeyCommand({
      KeyId: this.uri.key,
      NumberOfBytes: sizeBytes,
      EncryptionContext: { ...context },
    });
    const { members, secret } = await this.#send(command, this.uri.key, options);
    const wrapped = wrappedOf(members);
    if (wrapped !== undefined && secret?.length === sizeBytes) return { plaintext: secret, wrapped };
    freeSecret(secret);
    return this.#badReply('it gives no data key of the size that was asked for');
  }

  async unwrap(wrapped: WrappedKey, context: EncryptionContext, options: CallOptions): Promise<SecretBytes> {
    this.#checkOrigin(wrapped);
    const command = new this.sdk.DecryptCommand({
      KeyId: wrapped.keyId,
      CiphertextBlob: wrapped.ciphertext,
      EncryptionContext: { ...context },
    });
    const { secret } = await this.#send(command, wrapped.keyId, options);
    return secret ?? this.#badReply('it gives no data key');
  }

  async rewrap(wrapped: WrappedKey, context: EncryptionContext, options: CallOptions): Promise<WrappedKey> {
    this.#checkOrigin(wrapped);
    const command = new this.sdk.ReEncryptCommand({
      CiphertextBlob: wrapped.ciphertext,
      SourceKeyId: wrapped.keyId,
      SourceEncryptionContext: { ...context },
      DestinationKeyId: this.uri.key,
      DestinationEncryptionContext: { ...context },
    });
    const { members } = await this.#send(command, wrapped.keyId, options);
    return wrappedOf(members) ?? this.#badReply('it gives no ciphertext');
  }

  async describeKey(keyId: string | undefined, options: CallOptions): Promise<KeyDescription> {
    const command = new this.sdk.DescribeKeyCommand({ KeyId: keyId ?? this.uri.key });
    const { members } = await this.#send(command, keyId ?? this.uri.key, options);
    const key = (members.KeyMetadata ?? {}) as Record<string, unknown>;
    if (typeof key.Arn !== 'string' || typeof key.KeyState !== 'string') {
      return this.#badReply('it describes no key');
    }
    const state = STATES[key.KeyState];
    if (state === undefined) fail('KMS_SERVER_ERROR', { keyUri: this.keyUri, why: 'the key is not ready' });
    return { keyId: key.Arn, state, serviceKey: key.KeyManager === 'AWS' };
  }

  async close(): Promise<void> {
    this.client.destroy();
    for (const http of this.#clients.values()) http.close();
  }

  /** An alias may have moved since a key was wrapped, a key's own id cannot. An empty ciphertext AWS would not even read. */
  #checkOrigin({ keyId, ciphertext }: WrappedKey): void {
    const named = this.uri.keyId;
    const other = named !== undefined && keyId !== named && !keyId.endsWith(`key/${named}`);
    if (other || ciphertext.length === 0) fail('KMS_INVALID_CIPHERTEXT', { keyUri: this.keyUri });
  }

  /** Fails as the contract says, at the deadline at the latest. `keyId` is the key that `command` is about. */
  async #send(command: Command, keyId: string, { timeoutMs }: CallOptions): Promise<Answer> {
    const deadline = new Deadline(timeoutMs, this.keyUri);
    return deadline.bound(
      () => this.#attempts(command, keyId, deadline),
      (late) => freeSecret(late.secret),
    );
  }

  async #attempts(command: Command, keyId: string, deadline: Deadline): Promise<Answer> {
    let status: number | undefined;
    let secret: SecretBytes | undefined;
    addTransport(command, async (request) => {
      const reply = await this.#exchange(request, deadline);
      status = reply.status;
      if (status === 200) secret = takeSecret(reply.body, 'Plaintext', PLAINTEXT_MAX_BYTES);
      return { statusCode: status, headers: reply.headers, body: withoutBlanks(reply.body) };
    });
    const send = this.client.send.bind(this.client) as unknown as (command: Command) => Promise<object>;
    try {
      return { members: (await send(command)) as Answer['members'], secret };
    } catch (error) {
      freeSecret(secret);
      if (isStateError(error)) return this.#failByState(keyId, deadline);
      throw failureOf(error, status, this.keyUri);
    }
  }

  /** KMSInvalidStateException does not say which state: the key's description does. */
  async #failByState(keyId: string, deadline: Deadline): Promise<never> {
    const { state } = await this.describeKey(keyId, { timeoutMs: deadline.remainingMs });
    const unknown = { keyUri: this.keyUri, why: 'its state forbids it' };
    throw failureOfState(state, this.keyUri) ?? new SealdiskError('KMS_SERVER_ERROR', unknown);
  }

  async #exchange(
    { protocol, hostname, port, path, headers, body }: SdkRequest,
    deadline: Deadline,
  ): Promise<HttpReply> {
    const origin = `${protocol}//${hostname}${port === undefined ? '' : `:${port}`}`;
    const http =
      this.#clients.get(origin) ??
      new HttpClient(origin, this.keyUri, this.ca === undefined ? {} : { ca: this.ca });
    this.#clients.set(origin, http);
    return http.send({ method: 'POST', path, headers, body: bytesOf(body) }, deadline);
  }

  #badReply(why: string): never {
    return fail('KMS_BAD_REPLY', { keyUri: this.keyUri, why });
  }
}

interface SdkRequest {
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number;
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body?: string | Uint8Array;
}

interface SdkResponse {
  readonly statusCode: number;
  readonly headers: Record<string, string>;
  readonly body: Uint8Array;
}

/** Puts `transport` at the end of the chain, below what reads replies: every attempt ends here and not in the SDK's own. */
function addTransport(command: Command, transport: (request: SdkRequest) => Promise<SdkResponse>): void {
  const last = () => async (args: { request: unknown }) => ({
    response: await transport(args.request as SdkRequest),
    output: undefined,
  });
  const stack = command.middlewareStack as { add(middleware: unknown, options: object): void };
  stack.add(last, { step: 'deserialize', priority: 'low', name: 'sealdiskTransport' });
}

/** The place of a secret that was taken is blank, which is no base64. */
const withoutBlanks = (body: Buffer): Uint8Array =>
  Buffer.from(body.toString('latin1').replace(/("Plaintext"\s*:\s*") *"/, '$1"'), 'latin1');

const bytesOf = (body: string | Uint8Array = ''): Buffer =>
  typeof body === 'string'
    ? Buffer.from(body)
    : Buffer.from(body.buffer.slice(body.byteOffset, body.byteOffset + body.byteLength));

function wrappedOf({ KeyId, CiphertextBlob }: Readonly<Record<string, unknown>>): WrappedKey | undefined {
  if (typeof KeyId !== 'string' || KeyId === '') return undefined;
  if (!(CiphertextBlob instanceof Uint8Array) || CiphertextBlob.length === 0) return undefined;
  return { keyId: KeyId, keyVersion: KEY_VERSION, ciphertext: CiphertextBlob };
}
