/**
 * A wrapped data key: the bytes that the embedded KMS gives out and takes back. All integers are big-endian.
 *
 *   0   magic "SDK"           3
 *   3   format 1              1
 *   4   key id               16   the UUID's bytes
 *   20  key version           4
 *   24  context tag          32   BLAKE2b-256 of the encryption context, keyed by a subkey of the CMK
 *   56  nonce                24
 *   80  ciphertext, tag    n+16   XChaCha20-Poly1305 under another subkey; bytes 0 to 55 are its additional data
 *
 * The context is bound through its tag, which the AEAD authenticates. So a blob that was altered fails the AEAD, and
 * only a blob that is whole can be told to belong to another context.
 */

import sodium from 'sodium-native';
import { fail } from '../../errors.js';
import type { EncryptionContext, SecretBytes } from '../provider.js';
import { KEY_BYTES, NONCE_BYTES, seal, TAG_BYTES, unsealSecret } from './seal.js';
import { allocSecret, consumeSecret, freeSecret } from './secret.js';

/** As Alibaba Cloud KMS takes; AWS KMS takes 4096. */
export const PLAINTEXT_MAX_BYTES = 6144;
/** As AWS KMS: 8 KiB of canonical context. */
export const CONTEXT_MAX_BYTES = 8192;

const MAGIC = Buffer.from('SDK\x01', 'latin1');
const KEY_ID_AT = 4;
const VERSION_AT = 20;
const CONTEXT_TAG_AT = 24;
const CONTEXT_TAG_BYTES = 32;
const HEADER_BYTES = CONTEXT_TAG_AT + CONTEXT_TAG_BYTES;
const OVERHEAD_BYTES = HEADER_BYTES + NONCE_BYTES + TAG_BYTES;

const SUBKEY_LABEL = Buffer.from('sdkwrap1', 'latin1');
const WRAP_SUBKEY = 1;
const CONTEXT_SUBKEY = 2;

export interface Envelope {
  readonly keyId: string;
  readonly version: number;
}

/** What verdict a whole or an altered blob gets. The secret of `ok` is the caller's to free. */
export type Opened =
  | { readonly kind: 'ok'; readonly plaintext: SecretBytes }
  | { readonly kind: 'altered' }
  | { readonly kind: 'otherContext' };

/** The key that wrapped `blob`, unverified; undefined when it is no blob of ours. */
export function peekEnvelope(blob: Buffer): Envelope | undefined {
  const plainBytes = blob.length - OVERHEAD_BYTES;
  if (plainBytes < 1 || plainBytes > PLAINTEXT_MAX_BYTES) return undefined;
  if (!blob.subarray(0, MAGIC.length).equals(MAGIC)) return undefined;
  const keyId = blob
    .toString('hex', KEY_ID_AT, VERSION_AT)
    .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  return { keyId, version: blob.readUInt32BE(VERSION_AT) };
}

/** `plaintext` under the CMK `material`, bound to `context`. */
export function wrap(
  plaintext: SecretBytes,
  envelope: Envelope,
  context: EncryptionContext,
  material: SecretBytes,
): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  MAGIC.copy(header);
  header.write(envelope.keyId.replaceAll('-', ''), KEY_ID_AT, 'hex');
  header.writeUInt32BE(envelope.version, VERSION_AT);
  contextTag(context, material).copy(header, CONTEXT_TAG_AT);
  return consumeSecret(subkey(material, WRAP_SUBKEY), (key) =>
    Buffer.concat([header, seal(plaintext, header, key)]),
  );
}

/** Opens a blob that `peekEnvelope` accepted. */
export function unwrap(blob: Buffer, context: EncryptionContext, material: SecretBytes): Opened {
  const header = blob.subarray(0, HEADER_BYTES);
  const plaintext = consumeSecret(subkey(material, WRAP_SUBKEY), (key) =>
    unsealSecret(blob.subarray(HEADER_BYTES), header, key),
  );
  if (!plaintext) return { kind: 'altered' };
  const found = header.subarray(CONTEXT_TAG_AT);
  if (sodium.sodium_memcmp(found, contextTag(context, material))) return { kind: 'ok', plaintext };
  freeSecret(plaintext);
  return { kind: 'otherContext' };
}

function contextTag(context: EncryptionContext, material: SecretBytes): Buffer {
  return consumeSecret(subkey(material, CONTEXT_SUBKEY), (key) => {
    const tag = Buffer.alloc(CONTEXT_TAG_BYTES);
    sodium.crypto_generichash(tag, canonicalContext(context), key);
    return tag;
  });
}

function subkey(material: SecretBytes, id: number): SecretBytes {
  const key = allocSecret(KEY_BYTES);
  sodium.crypto_kdf_derive_from_key(key, id, SUBKEY_LABEL, material);
  return key;
}

/** Pairs sorted by the bytes of their names, each text preceded by its length: no two contexts have one encoding. */
export function canonicalContext(context: EncryptionContext): Buffer {
  const pairs = Object.entries(context).map(
    ([name, value]) => [Buffer.from(name), Buffer.from(value)] as const,
  );
  pairs.sort(([a], [b]) => a.compare(b));
  const encoded = Buffer.concat(
    [uint32(pairs.length)].concat(
      pairs.flatMap((pair) => pair.flatMap((text) => [uint32(text.length), text])),
    ),
  );
  if (encoded.length > CONTEXT_MAX_BYTES) {
    fail('INTERNAL', { what: `encryption context of ${encoded.length} bytes, at most ${CONTEXT_MAX_BYTES}` });
  }
  return encoded;
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
