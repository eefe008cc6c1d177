/**
 * Key URIs: text that names a key of some KMS, and never holds a secret.
 *
 * One schema per scheme; what a schema does not know is refused, never ignored. An error shows a URI only up to its
 * first parameter, because what somebody typed there may be a PIN or a token.
 * The short forms `alias/x` and a bare key id mean the embedded KMS (`local:`).
 */

import { fail } from '../errors.js';

/** What a `local:` URI names: an alias, or a key by its immutable id. */
export type LocalRef =
  | { readonly kind: 'alias'; readonly alias: string }
  | { readonly kind: 'keyId'; readonly keyId: string };

export interface LocalKeyUri {
  readonly scheme: 'local';
  readonly ref: LocalRef;
  /** The one spelling that a token records. */
  readonly canonical: string;
}

/** Grows by one member for each scheme. */
export type KeyUri = LocalKeyUri;

export const SERVICE_ALIAS = 'alias/acs/ecs';
export const DEFAULT_KEY_URI = `local:${SERVICE_ALIAS}`;

const SCHEMES: Readonly<Record<string, (rest: string, text: string) => KeyUri>> = { local: parseLocal };

const SCHEME = /^([A-Za-z][A-Za-z0-9+.-]*):(.*)$/s;
const ALIAS = /^alias\/[A-Za-z0-9/_-]{1,255}$/;
const KEY_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export const isAlias = (text: string): boolean => ALIAS.test(text);
export const isKeyId = (text: string): boolean => KEY_ID.test(text);

/** Parses a key URI or a short form. Fails with KEY_URI_SYNTAX or KEY_URI_SCHEME. */
export function parseKeyUri(text: string): KeyUri {
  const match = SCHEME.exec(text);
  if (!match) return parseLocal(text, text);
  const scheme = (match[1] as string).toLowerCase();
  const parse = Object.hasOwn(SCHEMES, scheme) ? SCHEMES[scheme] : undefined;
  if (!parse) fail('KEY_URI_SCHEME', { scheme, known: Object.keys(SCHEMES).join(', ') });
  return parse(match[2] as string, text);
}

export function canonicalKeyUri(text: string): string {
  return parseKeyUri(text).canonical;
}

/** An alias or a key id of the embedded KMS, without a scheme. Fails with KEY_URI_SYNTAX. */
export function parseLocalRef(text: string): LocalRef {
  return parseLocal(text, text).ref;
}

function parseLocal(rest: string, text: string): LocalKeyUri {
  if (/[?;#]/.test(rest)) refuse(text, 'local: takes no parameters');
  if (isAlias(rest)) {
    return { scheme: 'local', ref: { kind: 'alias', alias: rest }, canonical: `local:${rest}` };
  }
  const keyId = rest.toLowerCase();
  if (isKeyId(keyId)) return { scheme: 'local', ref: { kind: 'keyId', keyId }, canonical: `local:${keyId}` };
  if (rest.startsWith('alias/')) refuse(text, 'an alias is 1 to 255 letters, digits, / _ - after alias/');
  return refuse(text, 'neither an alias (alias/NAME) nor a key id');
}

function refuse(text: string, why: string): never {
  fail('KEY_URI_SYNTAX', { keyUri: showable(text), why });
}

/** `text` on one line, without what may be a secret, and not longer than a line should be. */
function showable(text: string): string {
  const open = text.replace(/[?;#].*$/s, '?...').replace(/[^\x20-\x7e]/g, '.');
  return open.length > 120 ? `${open.slice(0, 120)}...` : open;
}
