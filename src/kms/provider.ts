/**
 * The contract of a key provider: what sealdisk needs of a KMS, and how a KMS may fail.
 *
 * A provider is bound to one key by its URI. Every call carries a deadline, every wrap and unwrap carries the
 * encryption context that binds the data key to its disk. What a KMS can do beyond the contract (rewrap, wrap, watch)
 * is a separate interface, asked for with a type guard.
 *
 * Failures are a closed set, the catalogue's groups `revoked`, `unreachable` and `wrong` (src/errors.ts, KMS_*); a
 * provider's calls throw nothing else. A reply that is not understood is KMS_BAD_REPLY, hence unreachable: nobody decided.
 * So is a 403 or 404 that the KMS did not word: a proxy says those, too. No failure, nor its cause, holds what a KMS
 * replied: it may hold a key.
 *
 * A key URI that only a disk's token names was written by whoever can write the disk's file. What would run code or
 * send credentials by its word alone asks `vouch` first.
 */

import { fail, SealdiskError } from '../errors.js';

/** AAD of a wrapped data key; the KMS refuses to unwrap under another one. */
export type EncryptionContext = Readonly<Record<string, string>>;

export type KeyState = 'enabled' | 'disabled' | 'pendingDeletion' | 'pendingImport';

/** Identifies the key and key version that wrapped. `keyId` is the KMS's own immutable id, never an alias. */
export interface WrappedKey {
  readonly keyId: string;
  /** Never empty, and '1' where the KMS has no versions or does not tell them. */
  readonly keyVersion: string;
  readonly ciphertext: Uint8Array;
}

/**
 * Plaintext key bytes in secure memory outside the V8 heap (locked, excluded from core files). Whoever receives one
 * owns it: hand it to `takeDataKey` of src/engine, which overwrites it, or wipe it.
 */
export type SecretBytes = Buffer;

export interface GeneratedKey {
  readonly plaintext: SecretBytes;
  readonly wrapped: WrappedKey;
}

export interface KeyDescription {
  readonly keyId: string;
  readonly state: KeyState;
  /** True for the service key, whose lifecycle is not in its users' hands. */
  readonly serviceKey: boolean;
  /** Whether an enabled key no longer unwraps what this version of it wrapped. Left out where no KMS can do that. */
  readonly withdrawn?: (keyVersion: string) => boolean;
}

export interface CallOptions {
  /** Milliseconds after which the call fails with KMS_TIMEOUT. */
  readonly timeoutMs: number;
}

export interface KeyProvider {
  /** Canonical key URI, as a token records it. It holds no secret. */
  readonly keyUri: string;

  /** `sizeBytes` fresh random bytes and their wrapping under the key's primary version, bound to `context`. */
  generateDataKey(sizeBytes: number, context: EncryptionContext, options: CallOptions): Promise<GeneratedKey>;

  /** The plaintext of `wrapped`. Fails with KMS_WRONG_CONTEXT when bound to another context, where the KMS can tell,
   *  else KMS_INVALID_CIPHERTEXT. */
  unwrap(wrapped: WrappedKey, context: EncryptionContext, options: CallOptions): Promise<SecretBytes>;

  /** State of the key `keyId` (of the key the URI names now, when left out). It never throws for a key that is only
   *  disabled or pending: that is its answer. */
  describeKey(keyId: string | undefined, options: CallOptions): Promise<KeyDescription>;

  /** Frees what the provider holds. Twice is fine. */
  close(): Promise<void>;
}

/**
 * Providers that can wrap the same data key anew under the key's primary version. Where the KMS cannot do it itself the
 * plaintext passes through secure memory here.
 */
export interface CanRewrap {
  /** Fails as `unwrap` does. */
  rewrap(wrapped: WrappedKey, context: EncryptionContext, options: CallOptions): Promise<WrappedKey>;
}

/** Providers that can wrap a data key that is brought to them: that of a disk which moves here from another key. */
export interface CanWrap {
  /** `plaintext` stays the caller's. Fails as `generateDataKey` does. */
  wrap(plaintext: SecretBytes, context: EncryptionContext, options: CallOptions): Promise<WrappedKey>;
}

/** Providers that can tell of a change sooner than the next check. `onChange` says only "ask now". */
export interface CanWatch {
  watch(keyId: string, onChange: () => void): { close(): void };
}

export const canRewrap = (p: KeyProvider): p is KeyProvider & CanRewrap => 'rewrap' in p;
export const canWrap = (p: KeyProvider): p is KeyProvider & CanWrap => 'wrap' in p;
export const canWatch = (p: KeyProvider): p is KeyProvider & CanWatch => 'watch' in p;

/** The failure that stands for a key in this state, or undefined for an enabled one. */
export function failureOfState(state: KeyState, keyUri: string): SealdiskError | undefined {
  switch (state) {
    case 'enabled':
      return undefined;
    case 'disabled':
      return new SealdiskError('KMS_KEY_DISABLED', { keyUri });
    case 'pendingDeletion':
      return new SealdiskError('KMS_KEY_PENDING_DELETION', { keyUri });
    case 'pendingImport':
      return new SealdiskError('KMS_KEY_PENDING_IMPORT', { keyUri });
  }
}

/** The failure that stands for the key, or for the version of it that wrapped; undefined when it can be used. */
export function failureOfDescription(
  described: KeyDescription,
  keyVersion: string | undefined,
  keyUri: string,
): SealdiskError | undefined {
  const failure = failureOfState(described.state, keyUri);
  if (failure || keyVersion === undefined || !described.withdrawn?.(keyVersion)) return failure;
  return new SealdiskError('KMS_KEY_DISABLED', { keyUri });
}

/** What a provider needs from its surroundings. */
export interface ProviderEnvironment {
  /** Folder of disks, snapshots and images; the embedded KMS lives in its `kms` folder. */
  readonly poolDir: string;
  readonly env: NodeJS.ProcessEnv;
  /** True when the URI comes from the machine's owner (`--key`), not from a disk's token alone. */
  readonly namedByOwner?: boolean;
}

/**
 * Fails with KMS_NOT_VOUCHED unless the owner named the URI, or `allowed` by the machine's own `setting`. `what` says
 * in the failure what the disk asks for, such as a program to run.
 */
export function vouch(
  environment: ProviderEnvironment,
  allowed: boolean,
  what: string,
  setting: string,
): void {
  if (environment.namedByOwner !== true && !allowed) fail('KMS_NOT_VOUCHED', { what, setting });
}

/** One URI scheme. Registered once in src/kms/registry.ts. */
export interface ProviderScheme {
  readonly scheme: string;
  /** The one spelling of `uri`. KEY_URI_SYNTAX for what the scheme does not know; unknown and secret parameters too. */
  canonical(uri: string): string;
  /**
   * Opens a provider for the key that the canonical `uri` names. What it needs beyond Node is loaded here, not before
   * (src/kms/optional.ts, KMS_PACKAGE). It asks no KMS anything: one that is away must not end a takeover.
   */
  open(uri: string, environment: ProviderEnvironment): Promise<KeyProvider>;
}
