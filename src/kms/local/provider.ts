/**
 * The `local:` provider: the embedded KMS of the pool, behind the contract of src/kms/provider.ts.
 *
 * It adds three things to LocalKms: the failures become those of the contract (a store that cannot be used is
 * unreachable: nobody decided), they name the key as its user named it, and a change of the key's record is told at
 * once.
 */

import { type FSWatcher, watch } from 'node:fs';
import { join } from 'node:path';
import { errnoOf, fail, isFailure, SealdiskError } from '../../errors.js';
import type {
  CallOptions,
  CanRewrap,
  CanWatch,
  CanWrap,
  EncryptionContext,
  GeneratedKey,
  KeyDescription,
  KeyProvider,
  ProviderEnvironment,
  ProviderScheme,
  SecretBytes,
  WrappedKey,
} from '../provider.js';
import { peekEnvelope } from './envelope.js';
import { LocalKms } from './local-kms.js';
import { type LocalKeyUri, parseLocal } from './ref.js';

/** Folder of the embedded KMS in a pool. */
export const kmsDirOf = (poolDir: string): string => join(poolDir, 'kms');

export const localScheme: ProviderScheme = {
  scheme: 'local',
  canonical: (uri) => parseLocal(uri).canonical,
  async open(uri: string, environment: ProviderEnvironment): Promise<KeyProvider & CanRewrap & CanWatch> {
    return new LocalProvider(parseLocal(uri), kmsDirOf(environment.poolDir));
  },
};

/** One write of a record is several events; what comes within this time is one. */
const MERGE_MS = 10;

class LocalProvider implements KeyProvider, CanRewrap, CanWatch, CanWrap {
  readonly keyUri: string;
  readonly #kms: LocalKms;
  readonly #watches = new Set<{ close(): void }>();

  constructor(
    private readonly uri: LocalKeyUri,
    private readonly dir: string,
  ) {
    this.keyUri = uri.canonical;
    this.#kms = LocalKms.open(dir);
  }

  async generateDataKey(
    sizeBytes: number,
    context: EncryptionContext,
    options: CallOptions,
  ): Promise<GeneratedKey> {
    return this.#contract(async () => {
      const made = await this.#kms.generateDataKey(this.keyUri, sizeBytes, context, options);
      const { plaintext, keyId, keyVersion, ciphertext } = made;
      return { plaintext, wrapped: { keyId, keyVersion, ciphertext } };
    });
  }

  async unwrap(wrapped: WrappedKey, context: EncryptionContext, options: CallOptions): Promise<SecretBytes> {
    return this.#contract(async () => {
      this.#checkOrigin(wrapped);
      return (await this.#kms.decrypt(wrapped.ciphertext, context, options)).plaintext;
    });
  }

  async wrap(plaintext: SecretBytes, context: EncryptionContext, options: CallOptions): Promise<WrappedKey> {
    return this.#contract(async () => {
      const { keyId, keyVersion, ciphertext } = await this.#kms.encrypt(
        this.keyUri,
        plaintext,
        context,
        options,
      );
      return { keyId, keyVersion, ciphertext };
    });
  }

  /** Under the newest version of the key that wrapped. */
  async rewrap(wrapped: WrappedKey, context: EncryptionContext, options: CallOptions): Promise<WrappedKey> {
    return this.#contract(async () => {
      this.#checkOrigin(wrapped);
      const { keyId, keyVersion, ciphertext } = await this.#kms.reEncrypt(
        wrapped.ciphertext,
        context,
        wrapped.keyId,
        context,
        options,
      );
      return { keyId, keyVersion, ciphertext };
    });
  }

  async describeKey(keyId: string | undefined, options: CallOptions): Promise<KeyDescription> {
    return this.#contract(() =>
      keyId === undefined ? this.#kms.describeKey(this.keyUri, options) : this.#kms.stateOf(keyId, options),
    );
  }

  watch(keyId: string, onChange: () => void): { close(): void } {
    const watched = watchRecord(join(this.dir, 'keys'), keyId, onChange);
    this.#watches.add(watched);
    return watched;
  }

  async close(): Promise<void> {
    for (const watched of this.#watches) watched.close();
    this.#watches.clear();
  }

  /** What a token says of its wrapped key must be what the wrapped key says. An alias may have moved since. */
  #checkOrigin(wrapped: WrappedKey): void {
    const envelope = peekEnvelope(Buffer.from(wrapped.ciphertext));
    const named = this.uri.ref.kind === 'keyId' ? this.uri.ref.keyId : wrapped.keyId;
    const same =
      envelope?.keyId === wrapped.keyId &&
      String(envelope.version) === wrapped.keyVersion &&
      named === wrapped.keyId;
    if (!same) fail('KMS_INVALID_CIPHERTEXT', { keyUri: this.keyUri });
  }

  async #contract<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw contractFailure(error, this.keyUri);
    }
  }
}

/** The failure of the contract that stands for what LocalKms threw. */
function contractFailure(error: unknown, keyUri: string): SealdiskError {
  if (!isFailure(error)) return new SealdiskError('INTERNAL', { what: errnoOf(error) }, error);
  if (isFailure(error, 'KMS_STORE_ALTERED')) {
    return new SealdiskError('KMS_BAD_REPLY', { keyUri, why: error.message }, error);
  }
  if (isFailure(error, 'KMS_STORE', 'KMS_ROOT_LOCKED')) {
    const refused = ['EACCES', 'EPERM'].includes(errnoOf(error.cause));
    const code = refused ? 'KMS_ACCESS_DENIED' : 'KMS_SERVER_ERROR';
    return new SealdiskError(code, { keyUri, why: error.message }, error);
  }
  if ('keyUri' in error.facts) return new SealdiskError(error.code, { ...error.facts, keyUri }, error.cause);
  return error;
}

/**
 * Calls `onChange` after the file `name` of `folder` was replaced. It only hastens the next check: a folder that cannot
 * be watched, or is gone, is left to the checks.
 */
function watchRecord(folder: string, name: string, onChange: () => void): { close(): void } {
  let timer: NodeJS.Timeout | undefined;
  let watcher: FSWatcher | undefined;
  const close = (): void => {
    clearTimeout(timer);
    watcher?.close();
    watcher = undefined;
  };
  try {
    watcher = watch(folder, { persistent: false }, (_event, changed) => {
      if (changed !== name) return;
      timer ??= setTimeout(() => {
        timer = undefined;
        onChange();
      }, MERGE_MS);
    });
    watcher.on('error', close);
  } catch {
    return { close };
  }
  return { close };
}
