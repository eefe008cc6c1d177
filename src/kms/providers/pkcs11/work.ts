/** What the provider asks of the thread that holds the PKCS#11 module, and what comes back. All of it is cloned. */

import type { Code, FactsOf } from '../../../errors.js';
import type { TokenNames } from './uri.js';

/** The key that a question is about, by what the URI or a disk's token says of it. */
export interface KeyNames {
  readonly token: TokenNames;
  readonly object?: string;
  /** CKA_ID in hex. */
  readonly id?: string;
  readonly pinFile?: string;
}

/** A wrapped key, by the parts of src/kms/providers/sealed-key.ts, and its additional data. */
export interface SealedParts {
  readonly nonce: Uint8Array;
  readonly sealed: Uint8Array;
  readonly aad: Uint8Array;
}

/**
 * `keyUri` is for failures. `make` and `unwrap` leave plaintext at the start of the mailbox, for the asker to take. `rewrap` opens `parts` with
 * `key` and seals it again with `to`; no plaintext leaves the thread. `end` closes the module.
 */
export type KeyWork = { readonly keyUri: string; readonly key: KeyNames } & (
  | { readonly verb: 'describe' }
  | { readonly verb: 'make'; readonly sizeBytes: number; readonly aad: Uint8Array }
  | { readonly verb: 'unwrap'; readonly parts: SealedParts }
  | { readonly verb: 'rewrap'; readonly parts: SealedParts; readonly to: KeyNames }
);

export type Work = KeyWork | { readonly verb: 'end' };

export interface Done {
  /** CKA_ID in hex. */
  readonly keyId: string;
  /** CKA_DECRYPT: false is how an owner takes the key away. */
  readonly enabled: boolean;
  /** Bytes of plaintext in the mailbox. */
  readonly plainBytes: number;
  readonly nonce?: Uint8Array;
  readonly sealed?: Uint8Array;
}

export type Answer =
  | { readonly done: Done }
  | { readonly failure: { readonly code: Code; readonly facts: FactsOf<Code> } };

/** What the thread is started with. */
export interface ThreadData {
  readonly modulePath: string;
  readonly mailbox: SharedArrayBuffer;
}
