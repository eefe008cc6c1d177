/** What a provider asks of the process that holds the PKCS#11 module, and what comes back. */

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
 * `keyUri` is for failures; a PIN with the identity `refusedPin` is not tried. `rewrap` opens `parts` with `key` and seals it again with `to`; its plaintext does not leave
 * the process. `end` ends that.
 */
export type Question =
  | { readonly verb: 'describe'; readonly key: KeyNames }
  | { readonly verb: 'make'; readonly key: KeyNames; readonly sizeBytes: number; readonly aad: Uint8Array }
  | { readonly verb: 'unwrap'; readonly key: KeyNames; readonly parts: SealedParts }
  | { readonly verb: 'rewrap'; readonly key: KeyNames; readonly parts: SealedParts; readonly to: KeyNames };

export type KeyWork = Question & { readonly keyUri: string; readonly refusedPin: string | undefined };
export type Work = KeyWork | { readonly verb: 'end' };

export interface Done {
  /** CKA_ID in hex. */
  readonly keyId: string;
  /** CKA_DECRYPT: false is how an owner takes the key away. */
  readonly enabled: boolean;
  /** After `make` and `unwrap`: the plaintext, sealed for the asker's public key. */
  readonly boxed?: Uint8Array;
  readonly nonce?: Uint8Array;
  readonly sealed?: Uint8Array;
}

export type Answer =
  | { readonly done: Done }
  | {
      readonly failure: { readonly code: Code; readonly facts: FactsOf<Code> };
      readonly refusedPin: string | undefined;
    };
