/** A key on a PKCS#11 token as the contract of src/kms/provider.ts. src/kms/providers/pkcs11.ts tells what it keeps true. */

import { fail } from '../../../errors.js';
import { Deadline } from '../../local/deadline.js';
import { allocSecret, freeSecret } from '../../local/secret.js';
import { optional } from '../../optional.js';
import {
  type CallOptions,
  type CanRewrap,
  type EncryptionContext,
  type GeneratedKey,
  type KeyDescription,
  type KeyProvider,
  type ProviderEnvironment,
  type SecretBytes,
  vouch,
  type WrappedKey,
} from '../../provider.js';
import { refuseUri } from '../../uri.js';
import { additionalData, decodeSealed, encodeSealed, PLAINTEXT_MAX_BYTES } from '../sealed-key.js';
import { ModuleThread } from './module-thread.js';
import type { Pkcs11Uri } from './uri.js';
import type { Done, KeyNames, SealedParts } from './work.js';

const MODULE = 'SEALDISK_PKCS11_MODULE';
const PIN_FILE = 'SEALDISK_PKCS11_PIN_FILE';
/** A key object is one key for ever. */
const ONLY_VERSION = '1';

/** The module and the file of the PIN: the URI's where the owner or the machine's settings vouch for them. */
function settings(
  uri: Pkcs11Uri,
  environment: ProviderEnvironment,
): { modulePath: string; pinFile: string | undefined } {
  const { [MODULE]: ourModule, [PIN_FILE]: ourPinFile } = environment.env;
  if (uri.modulePath !== undefined) {
    vouch(environment, uri.modulePath === ourModule, `the library ${uri.modulePath}`, MODULE);
  }
  if (uri.pinFile !== undefined) {
    vouch(environment, uri.pinFile === ourPinFile, `the PIN in ${uri.pinFile}`, PIN_FILE);
  }
  const modulePath = uri.modulePath ?? ourModule;
  if (!modulePath) return refuseUri(uri.canonical, `it needs module-path=/PATH, or ${MODULE}`);
  return { modulePath, pinFile: uri.pinFile ?? (ourPinFile || undefined) };
}

export async function openPkcs11(
  uri: Pkcs11Uri,
  environment: ProviderEnvironment,
): Promise<KeyProvider & CanRewrap> {
  const { modulePath, pinFile } = settings(uri, environment);
  await optional('pkcs11', 'pkcs11js', () => import('pkcs11js'));
  return new Pkcs11Provider(uri, pinFile, ModuleThread.join(modulePath));
}

class Pkcs11Provider implements KeyProvider, CanRewrap {
  readonly keyUri: string;
  readonly #named: KeyNames;
  readonly #thread: ModuleThread;
  #closed = false;

  constructor(uri: Pkcs11Uri, pinFile: string | undefined, thread: ModuleThread) {
    this.keyUri = uri.canonical;
    const { token, object, id } = uri;
    this.#named = {
      token,
      ...(object === undefined ? {} : { object }),
      ...(id === undefined ? {} : { id }),
      ...(pinFile === undefined ? {} : { pinFile }),
    };
    this.#thread = thread;
  }

  async generateDataKey(
    sizeBytes: number,
    context: EncryptionContext,
    options: CallOptions,
  ): Promise<GeneratedKey> {
    if (sizeBytes > PLAINTEXT_MAX_BYTES) fail('INTERNAL', { what: `a data key of ${sizeBytes} bytes` });
    const work = { verb: 'make', sizeBytes, aad: additionalData(context) } as const;
    return this.#thread.ask(
      { ...work, keyUri: this.keyUri, key: this.#named },
      this.#deadline(options),
      (done, plaintext) => ({ plaintext: secretCopy(plaintext), wrapped: wrappedOf(done) }),
      (late) => freeSecret(late.plaintext),
    );
  }

  async unwrap(wrapped: WrappedKey, context: EncryptionContext, options: CallOptions): Promise<SecretBytes> {
    const work = { verb: 'unwrap', parts: this.#partsOf(wrapped, context) } as const;
    return this.#thread.ask(
      { ...work, keyUri: this.keyUri, key: this.#byId(wrapped.keyId) },
      this.#deadline(options),
      (_done, plaintext) => secretCopy(plaintext),
      freeSecret,
    );
  }

  async rewrap(wrapped: WrappedKey, context: EncryptionContext, options: CallOptions): Promise<WrappedKey> {
    const work = { verb: 'rewrap', parts: this.#partsOf(wrapped, context), to: this.#named } as const;
    const key = this.#byId(wrapped.keyId);
    return this.#thread.ask({ ...work, keyUri: this.keyUri, key }, this.#deadline(options), wrappedOf);
  }

  async describeKey(keyId: string | undefined, options: CallOptions): Promise<KeyDescription> {
    const deadline = this.#deadline(options);
    if (keyId !== undefined && !isId(keyId)) fail('KMS_KEY_NOT_FOUND', { keyUri: this.keyUri });
    const key = keyId === undefined ? this.#named : this.#byId(keyId);
    const work = { verb: 'describe', keyUri: this.keyUri, key } as const;
    return this.#thread.ask(work, deadline, (done) => ({
      keyId: done.keyId,
      state: done.enabled ? 'enabled' : 'disabled',
      serviceKey: false,
    }));
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#thread.leave();
  }

  /** The key with this id on the URI's token, whatever its label is by now. */
  #byId(id: string): KeyNames {
    const { object: _, ...token } = this.#named;
    return { ...token, id };
  }

  #partsOf(wrapped: WrappedKey, context: EncryptionContext): SealedParts {
    const parts = decodeSealed(wrapped.ciphertext);
    const named = this.#named.id ?? wrapped.keyId;
    const ours = named === wrapped.keyId && isId(wrapped.keyId) && wrapped.keyVersion === ONLY_VERSION;
    if (!parts || !ours) return fail('KMS_INVALID_CIPHERTEXT', { keyUri: this.keyUri });
    return { ...parts, aad: additionalData(context) };
  }

  #deadline({ timeoutMs }: CallOptions): Deadline {
    return new Deadline(timeoutMs, this.keyUri);
  }
}

const isId = (text: string): boolean => /^([0-9a-f]{2})+$/.test(text);

function wrappedOf({ keyId, nonce, sealed }: Done): WrappedKey {
  if (!nonce || !sealed) return fail('INTERNAL', { what: 'the thread sealed nothing' });
  const parts = { nonce: Buffer.from(nonce), sealed: Buffer.from(sealed) };
  return { keyId, keyVersion: ONLY_VERSION, ciphertext: encodeSealed(parts) };
}

function secretCopy(plaintext: Buffer): SecretBytes {
  const secret = allocSecret(plaintext.length);
  plaintext.copy(secret);
  return secret;
}
