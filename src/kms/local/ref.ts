/**
 * How a key of the embedded KMS is named: `local:` and an alias or a key id. The short forms `alias/x` and a bare key id
 * mean the same.
 */

import { parameters, refuseUri, splitQuery, splitScheme } from '../uri.js';

/** What a `local:` URI names: an alias, or a key by its immutable id. */
export type LocalRef =
  | { readonly kind: 'alias'; readonly alias: string }
  | { readonly kind: 'keyId'; readonly keyId: string };

export interface LocalKeyUri {
  readonly ref: LocalRef;
  /** The one spelling that a token records. */
  readonly canonical: string;
}

export const SERVICE_ALIAS = 'alias/acs/ecs';
export const DEFAULT_KEY_URI = `local:${SERVICE_ALIAS}`;

const ALIAS = /^alias\/[A-Za-z0-9/_-]{1,255}$/;
const KEY_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export const isAlias = (text: string): boolean => ALIAS.test(text);
export const isKeyId = (text: string): boolean => KEY_ID.test(text);

/** Parses a `local:` URI or a short form. Fails with KEY_URI_SYNTAX. */
export function parseLocal(text: string): LocalKeyUri {
  const { path, query } = splitQuery(splitScheme(text)?.rest ?? text);
  parameters(text, query, []);
  if (isAlias(path)) {
    return { ref: { kind: 'alias', alias: path }, canonical: `local:${path}` };
  }
  const keyId = path.toLowerCase();
  if (isKeyId(keyId)) return { ref: { kind: 'keyId', keyId }, canonical: `local:${keyId}` };
  if (path.startsWith('alias/')) refuseUri(text, 'an alias is 1 to 255 letters, digits, / _ - after alias/');
  return refuseUri(text, 'neither an alias (alias/NAME) nor a key id');
}
