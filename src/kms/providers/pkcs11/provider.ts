/** A key on a PKCS#11 token as the contract of src/kms/provider.ts. src/kms/providers/pkcs11.ts tells what it keeps true. */

import { fail } from '../../../errors.js';
import { Deadline } from '../../local/deadline.js';
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
import { ModuleProcess } from './module-process.js';
import type { Pkcs11Uri } from './uri.js';
import type { Done, KeyNames, Question, SealedParts } from './work.js';

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
  return new Pkcs11Provider(uri, pinFile, ModuleProcess.join(modulePath));
}

class Pkcs11Provider implements KeyProvider, CanRewrap {
  readonly keyUri: string;
  readonly #named: KeyNames;
  readonly #module: ModuleProcess;
  #closed = false;

  constructor(uri: Pkcs11Uri, pinFile: string | undefined, module: ModuleProcess) {
    this.keyUri = uri.canonical;
    const { token, object, id } = uri;
    this.#named = {
      token,
      ...(object === undefined ? {} : { object }),
      ...(id === undefined ? {} : { id }),
      ...(pinFile === undefined ? {} : { pinFile }),
    };
    this.#module = module;
  }

  async generateDataKey(
    sizeBytes: number,
    context: EncryptionContext,
    options: CallOptions,
  ): Promise<GeneratedKey> {
    if (sizeBytes > PLAINTEXT_MAX_BYTES) fail('INTERNAL', { what: `a data key of ${sizeBytes} bytes` });
    const done = await this.#ask(
      { verb: 'make', key: this.#named, sizeBytes, aad: additionalData(context) },
      options,
    );
    return { plaintext: this.#module.open(done), wrapped: wrappedOf(done) };
  }

  async unwrap(wrapped: WrappedKey, context: EncryptionContext, options: CallOptions): Promise<SecretBytes> {
    const parts = this.#partsOf(wrapped, context);
    return this.#module.open(
      await this.#ask({ verb: 'unwrap', key: this.#byId(wrapped.keyId), parts }, options),
    );
  }

  async rewrap(wrapped: WrappedKey, context: EncryptionContext, options: CallOptions): Promise<WrappedKey> {
    const parts = this.#partsOf(wrapped, context);
    const key = this.#byId(wrapped.keyId);
    return wrappedOf(await this.#ask({ verb: 'rewrap', key, parts, to: this.#named }, options));
  }

  async describeKey(keyId: string | undefined, options: CallOptions): Promise<KeyDescription> {
    if (keyId !== undefined && !isId(keyId)) fail('KMS_KEY_NOT_FOUND', { keyUri: this.keyUri });
    const key = keyId === undefined ? this.#named : this.#byId(keyId);
    const { keyId: id, enabled } = await this.#ask({ verb: 'describe', key }, options);
    return { keyId: id, state: enabled ? 'enabled' : 'disabled', serviceKey: false };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#module.leave();
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

  #ask(question: Question, { timeoutMs }: CallOptions): Promise<Done> {
    return this.#module.ask(question, new Deadline(timeoutMs, this.keyUri));
  }
}

const isId = (text: string): boolean => /^([0-9a-f]{2})+$/.test(text);

function wrappedOf({ keyId, nonce, sealed }: Done): WrappedKey {
  if (!nonce || !sealed) return fail('INTERNAL', { what: 'the process sealed nothing' });
  const parts = { nonce: Buffer.from(nonce), sealed: Buffer.from(sealed) };
  return { keyId, keyVersion: ONLY_VERSION, ciphertext: encodeSealed(parts) };
}
