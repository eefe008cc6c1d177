/**
 * One spelling of an encryption context, for KMSs that take associated data as bytes: a JSON object with its names sorted.
 * Short enough that whoever recovers a key by hand can type it: `{"sealdisk:disk":"UUID"}`.
 */

import type { EncryptionContext } from './provider.js';

/** UTF-8 bytes, never empty. The same pairs in another order give the same bytes. */
export function contextBytes(context: EncryptionContext): Buffer {
  const pairs = Object.entries(context).sort(([a], [b]) => (a < b ? -1 : 1));
  return Buffer.from(JSON.stringify(Object.fromEntries(pairs)));
}
