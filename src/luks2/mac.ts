/**
 * What `header_mac` is computed over: everything that a thief of the file could twist to have the right key used wrongly.
 *
 * UUID, segments, requirements, the digest, the object's kind and id, and (where there are any) holes, generation and the
 * UUID that the wrapped key is bound to, in one canonical form: JSON with keys sorted by code unit, no white space, UTF-8. Keyslots are left out, and so is the digest's list of them: an owner may add a
 * recovery passphrase with cryptsetup at any time. The MAC itself is HMAC-SHA-256 keyed by HKDF(data key, "sealdisk header");
 * the engine computes it.
 */

import type { Luks2Header } from './header.js';
import { digestRecordOf } from './metadata.js';
import { tokenOf } from './token.js';

/** HKDF's info: the label to give to the engine's `hmac`. */
export const HEADER_MAC_LABEL = 'sealdisk header';

export function macMessage(header: Luks2Header): Buffer {
  const { type, hash, iterations, salt, digest, segments } = digestRecordOf(header);
  const { object, holes, generation, wrappedFor } = tokenOf(header);
  const message = {
    uuid: header.uuid,
    segments: { '0': { ...header.metadata.segments['0'] } },
    requirements: header.metadata.config.requirements?.mandatory ?? [],
    digest: { type, hash, iterations, salt, digest, segments },
    object,
    ...(holes ? { holes } : {}),
    ...(generation > 0 ? { generation } : {}),
    ...(wrappedFor ? { wrapped_for: wrappedFor } : {}),
  };
  return Buffer.from(canonicalJson(message), 'utf8');
}

type Canonical = string | number | boolean | readonly Canonical[] | { readonly [key: string]: Canonical };

/** JSON with keys sorted by UTF-16 code unit and no white space; strings and numbers as JSON.stringify writes them. */
export function canonicalJson(value: Canonical): string {
  if (typeof value !== 'object') return JSON.stringify(value);
  if (isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  const members = Object.keys(value).sort();
  return `{${members.map((key) => `${JSON.stringify(key)}:${canonicalJson(value[key] as Canonical)}`).join(',')}}`;
}

const isArray = (value: Canonical): value is readonly Canonical[] => Array.isArray(value);
