/** A key of a KMIP server as the contract of src/kms/provider.ts. src/kms/providers/kmip.ts tells what it keeps true. */

import sodium from 'sodium-native';
import { fail } from '../../../errors.js';
import { Deadline } from '../../local/deadline.js';
import { allocSecret, freeSecret } from '../../local/secret.js';
import {
  type CallOptions,
  type CanRewrap,
  type CanWrap,
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
import { additionalData, decodeSealed, encodeSealed, PLAINTEXT_MAX_BYTES } from '../sealed-key.js';
import { KmipClient } from './client.js';
import { failureOfReason, isDecided } from './failures.js';
import type { KmipUri, TlsFiles } from './uri.js';

/** A managed object is one key for ever. */
const ONLY_VERSION = '1';
const SYMMETRIC_KEY = 2;
const AES = 3;
/** KMIP 1.4, section 9.1.3.2.18. */
const STATES: ReadonlyMap<number, KeyState | 'destroyed'> = new Map([
  [1, 'disabled'], // Pre-Active
  [2, 'enabled'],
  [3, 'disabled'], // Deactivated
  [4, 'disabled'], // Compromised
  [5, 'destroyed'],
  [6, 'destroyed'],
]);

/** The URI's files where the owner or the machine's settings vouch for them, else the machine's. */
function tlsFiles({ files }: KmipUri, environment: ProviderEnvironment): TlsFiles {
  const { SEALDISK_KMIP_CA, SEALDISK_KMIP_CERT, SEALDISK_KMIP_KEY } = environment.env;
  const ours: TlsFiles = {
    ...(SEALDISK_KMIP_CA ? { ca: SEALDISK_KMIP_CA } : {}),
    ...(SEALDISK_KMIP_CERT ? { cert: SEALDISK_KMIP_CERT } : {}),
    ...(SEALDISK_KMIP_KEY ? { key: SEALDISK_KMIP_KEY } : {}),
  };
  for (const name of ['ca', 'cert', 'key'] as const) {
    const path = files[name];
    if (path === undefined) continue;
    vouch(environment, path === ours[name], `the file ${path}`, `SEALDISK_KMIP_${name.toUpperCase()}`);
  }
  return { ...ours, ...files };
}

export function openKmip(uri: KmipUri, environment: ProviderEnvironment): KeyProvider & CanRewrap & CanWrap {
  return new KmipProvider(uri, tlsFiles(uri, environment));
}

class KmipProvider implements KeyProvider, CanRewrap, CanWrap {
  readonly keyUri: string;
  readonly #client: KmipClient;

  constructor(
    private readonly uri: KmipUri,
    files: TlsFiles,
  ) {
    this.keyUri = uri.canonical;
    this.#client = new KmipClient(uri, files, this.keyUri);
  }

  async generateDataKey(
    sizeBytes: number,
    context: EncryptionContext,
    options: CallOptions,
  ): Promise<GeneratedKey> {
    if (sizeBytes > PLAINTEXT_MAX_BYTES) fail('INTERNAL', { what: `a data key of ${sizeBytes} bytes` });
    const deadline = this.#deadline(options);
    const keyId = await this.#usable(await this.#named(deadline), deadline);
    const plaintext = allocSecret(sizeBytes);
    try {
      sodium.randombytes_buf(plaintext);
      return { plaintext, wrapped: await this.#wrap(keyId, plaintext, context, deadline) };
    } catch (error) {
      freeSecret(plaintext);
      throw error;
    }
  }

  async unwrap(wrapped: WrappedKey, context: EncryptionContext, options: CallOptions): Promise<SecretBytes> {
    const deadline = this.#deadline(options);
    deadline.check();
    return this.#unwrap(wrapped, context, deadline);
  }

  async wrap(plaintext: SecretBytes, context: EncryptionContext, options: CallOptions): Promise<WrappedKey> {
    const deadline = this.#deadline(options);
    const keyId = await this.#usable(await this.#named(deadline), deadline);
    return this.#wrap(keyId, plaintext, context, deadline);
  }

  async rewrap(wrapped: WrappedKey, context: EncryptionContext, options: CallOptions): Promise<WrappedKey> {
    const deadline = this.#deadline(options);
    const keyId = await this.#usable(await this.#named(deadline), deadline);
    const plaintext = await this.#unwrap(wrapped, context, deadline);
    try {
      return await this.#wrap(keyId, plaintext, context, deadline);
    } finally {
      freeSecret(plaintext);
    }
  }

  async describeKey(keyId: string | undefined, options: CallOptions): Promise<KeyDescription> {
    const deadline = this.#deadline(options);
    const uid = keyId ?? (await this.#named(deadline));
    return { keyId: uid, state: await this.#stateOf(uid, deadline), serviceKey: false };
  }

  close(): Promise<void> {
    return this.#client.close();
  }

  // --- keys

  /** The identifier of the key that the URI names now. */
  async #named(deadline: Deadline): Promise<string> {
    const { uid, name } = this.uri;
    if (name === undefined) return uid as string;
    const [found, ...more] = await this.#client.locate(name, deadline);
    if (more.length > 0) {
      fail('KMS_SERVER_ERROR', { keyUri: this.keyUri, why: `${more.length + 1} objects have this name` });
    }
    return found ?? fail('KMS_KEY_NOT_FOUND', { keyUri: this.keyUri });
  }

  async #stateOf(uid: string, deadline: Deadline): Promise<KeyState> {
    const { keyUri } = this;
    const found = await this.#client.attributes(uid, deadline);
    if (found['Object Type'] !== SYMMETRIC_KEY || found['Cryptographic Algorithm'] !== AES) {
      fail('KMS_UNSUPPORTED_KEY', { keyUri, found: 'no AES key', expected: 'an AES key' });
    }
    const state = STATES.get(found.State ?? 0);
    if (state === undefined) return fail('KMS_BAD_REPLY', { keyUri, why: 'a key without a State' });
    return state === 'destroyed' ? fail('KMS_KEY_NOT_FOUND', { keyUri }) : state;
  }

  /** `uid`, if it may be used now. */
  async #usable(uid: string, deadline: Deadline): Promise<string> {
    const failure = failureOfState(await this.#stateOf(uid, deadline), this.keyUri);
    if (failure) throw failure;
    return uid;
  }

  // --- wrapping

  async #wrap(
    keyId: string,
    plaintext: SecretBytes,
    context: EncryptionContext,
    deadline: Deadline,
  ): Promise<WrappedKey> {
    const outcome = await this.#client.encrypt(keyId, plaintext, additionalData(context), deadline);
    if (outcome.kind === 'failed') throw failureOfReason(outcome.reason, this.keyUri);
    return { keyId, keyVersion: ONLY_VERSION, ciphertext: encodeSealed(outcome.value) };
  }

  async #unwrap(wrapped: WrappedKey, context: EncryptionContext, deadline: Deadline): Promise<SecretBytes> {
    const { keyUri } = this;
    const { keyId, keyVersion, ciphertext } = wrapped;
    const parts = decodeSealed(ciphertext);
    const ours = keyVersion === ONLY_VERSION && keyId === (this.uri.uid ?? keyId);
    if (!parts || !ours) return fail('KMS_INVALID_CIPHERTEXT', { keyUri });
    const outcome = await this.#client.decrypt(keyId, parts, additionalData(context), deadline);
    try {
      // After the use, so that a key that is revoked meanwhile opens nothing; and this answer overwrites what TLS has left
      // of the last one on the stack.
      await this.#usable(keyId, deadline);
    } catch (error) {
      if (outcome.kind === 'done') freeSecret(outcome.value);
      throw error;
    }
    if (outcome.kind === 'done') return outcome.value;
    // A server may word a wrong tag as any failure. A key that opens what it has just sealed is well.
    const altered = !isDecided(outcome.reason) && (await this.#works(keyId, deadline));
    if (altered) fail('KMS_INVALID_CIPHERTEXT', { keyUri });
    throw failureOfReason(outcome.reason, keyUri);
  }

  async #works(keyId: string, deadline: Deadline): Promise<boolean> {
    const aad = Buffer.from('sealdisk probe');
    const sealed = await this.#client.encrypt(keyId, Buffer.alloc(16), aad, deadline);
    if (sealed.kind === 'failed') return false;
    const opened = await this.#client.decrypt(keyId, sealed.value, aad, deadline);
    if (opened.kind === 'failed') return false;
    freeSecret(opened.value);
    return true;
  }

  #deadline({ timeoutMs }: CallOptions): Deadline {
    return new Deadline(timeoutMs, this.keyUri);
  }
}
