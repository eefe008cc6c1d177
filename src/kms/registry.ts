/**
 * Key providers by URI scheme.
 *
 * Every scheme is registered here, once; a double registration is a mistake of the build and stops the start. Text
 * without a scheme names a key of the embedded KMS.
 */

import { fail } from '../errors.js';
import { localScheme } from './local/provider.js';
import type { KeyProvider, ProviderEnvironment, ProviderScheme } from './provider.js';
import { alikmsScheme } from './providers/alikms.js';
import { awskmsScheme } from './providers/awskms.js';
import { execScheme } from './providers/exec.js';
import { hashivaultScheme } from './providers/hashivault.js';
import { kmipScheme } from './providers/kmip.js';
import { pkcs11Scheme } from './providers/pkcs11.js';
import { refuseUri, splitScheme } from './uri.js';

/** A disk's token holds no longer one (src/luks2/token.ts). */
const KEY_URI_MAX_BYTES = 1024;

/** The table of `schemes` by id. Fails with INTERNAL when two have the same id. */
export function registry(schemes: readonly ProviderScheme[]): ReadonlyMap<string, ProviderScheme> {
  const table = new Map<string, ProviderScheme>();
  for (const scheme of schemes) {
    if (table.has(scheme.scheme)) {
      fail('INTERNAL', { what: `key provider "${scheme.scheme}" is registered twice` });
    }
    table.set(scheme.scheme, scheme);
  }
  return table;
}

const SCHEMES = registry([
  localScheme,
  pkcs11Scheme,
  kmipScheme,
  hashivaultScheme,
  awskmsScheme,
  alikmsScheme,
  execScheme,
]);

/** Ids of the schemes that this build has. */
export const schemeIds = (): string[] => [...SCHEMES.keys()];

/** The one spelling of a key URI, as a token records it. Fails with KEY_URI_SYNTAX or KEY_URI_SCHEME. */
export function canonicalKeyUri(text: string): string {
  const canonical = schemeOf(text).canonical(text);
  const long = Buffer.byteLength(canonical) > KEY_URI_MAX_BYTES;
  return long ? refuseUri(text, `it is longer than ${KEY_URI_MAX_BYTES} bytes`) : canonical;
}

/** A provider for the key that `uri` names. Fails with KEY_URI_SYNTAX, KEY_URI_SCHEME or as the contract says. */
export async function openProvider(uri: string, environment: ProviderEnvironment): Promise<KeyProvider> {
  return schemeOf(uri).open(canonicalKeyUri(uri), environment);
}

function schemeOf(text: string): ProviderScheme {
  const scheme = splitScheme(text)?.scheme;
  if (scheme === undefined) return localScheme;
  return SCHEMES.get(scheme) ?? fail('KEY_URI_SCHEME', { scheme, known: schemeIds().join(', ') });
}
