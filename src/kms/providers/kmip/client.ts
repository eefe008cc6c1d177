/**
 * A KMIP server by the four operations that sealdisk needs, each with the exact answer that it takes.
 *
 * Kept true: an answer is for the object that was asked about; ciphertext, tag and plaintext have the lengths that GCM
 * gives them; plaintext goes into secure memory and nowhere else.
 */

import sodium from 'sodium-native';
import { fail } from '../../../errors.js';
import type { Deadline } from '../../local/deadline.js';
import { allocSecret, freeSecret } from '../../local/secret.js';
import type { SecretBytes } from '../../provider.js';
import { NONCE_BYTES, type SealedKey, TAG_BYTES } from '../sealed-key.js';
import { type Address, KmipConnection } from './connection.js';
import { failureOfReason } from './failures.js';
import {
  bytes,
  enumeration,
  integer,
  OPERATION,
  type Operation,
  one,
  question,
  readReply,
  request,
  structure,
  TAG,
  text,
} from './message.js';
import type { Item } from './ttlv.js';
import type { TlsFiles } from './uri.js';

const UNINTERPRETED_TEXT = 1;
const AES = 3;
const GCM = 9;

const ATTRIBUTES = ['State', 'Object Type', 'Cryptographic Algorithm'] as const;
export type Attributes = Readonly<Partial<Record<(typeof ATTRIBUTES)[number], number>>>;

/** `failed`: the server says so, with its result reason. */
export type Outcome<T> =
  | { readonly kind: 'done'; readonly value: T }
  | { readonly kind: 'failed'; readonly reason: number };

/** Undefined when the payload is no answer. */
type Read<T> = (payload: readonly Item[]) => T | undefined;

/** Every call fails as the provider contract says. */
export class KmipClient {
  readonly #connection: KmipConnection;

  constructor(
    address: Address,
    files: TlsFiles,
    private readonly keyUri: string,
  ) {
    this.#connection = new KmipConnection(address, files, keyUri);
  }

  /** Identifiers of the objects that have this Name now. */
  locate(name: string, deadline: Deadline): Promise<string[]> {
    const value = structure(
      TAG.attributeValue,
      text(TAG.nameValue, name),
      enumeration(TAG.nameType, UNINTERPRETED_TEXT),
    );
    const named = structure(TAG.attribute, text(TAG.attributeName, 'Name'), value);
    return this.#ask(OPERATION.locate, [named], deadline, (payload) =>
      payload.flatMap((item) =>
        item.tag === TAG.uniqueIdentifier && item.type === 'text' ? [item.value] : [],
      ),
    );
  }

  attributes(uid: string, deadline: Deadline): Promise<Attributes> {
    const names = ATTRIBUTES.map((name) => text(TAG.attributeName, name));
    const payload = [text(TAG.uniqueIdentifier, uid), ...names];
    return this.#ask(OPERATION.getAttributes, payload, deadline, (reply) =>
      isOf(uid, reply) ? attributesOf(reply) : undefined,
    );
  }

  async encrypt(
    keyId: string,
    plaintext: Buffer,
    aad: Buffer,
    deadline: Deadline,
  ): Promise<Outcome<SealedKey>> {
    const nonce = Buffer.alloc(NONCE_BYTES);
    sodium.randombytes_buf(nonce);
    const payload = [
      text(TAG.uniqueIdentifier, keyId),
      PARAMETERS,
      bytes(TAG.data, plaintext),
      bytes(TAG.nonce, nonce),
      bytes(TAG.additionalData, aad),
    ];
    return this.#exchange(OPERATION.encrypt, payload, deadline, (reply) => {
      const data = one(reply, TAG.data, 'bytes');
      const tag = one(reply, TAG.authenticationTag, 'bytes');
      if (!isOf(keyId, reply) || data?.length !== plaintext.length || tag?.length !== TAG_BYTES)
        return undefined;
      return { nonce, sealed: Buffer.concat([data, tag]) };
    });
  }

  async decrypt(
    keyId: string,
    { nonce, sealed }: SealedKey,
    aad: Buffer,
    deadline: Deadline,
  ): Promise<Outcome<SecretBytes>> {
    const tagAt = sealed.length - TAG_BYTES;
    const payload = [
      text(TAG.uniqueIdentifier, keyId),
      PARAMETERS,
      bytes(TAG.data, sealed.subarray(0, tagAt)),
      bytes(TAG.nonce, nonce),
      bytes(TAG.additionalData, aad),
      bytes(TAG.authenticationTag, sealed.subarray(tagAt)),
    ];
    const read = (reply: readonly Item[]): SecretBytes | undefined => {
      const data = one(reply, TAG.data, 'bytes');
      if (!isOf(keyId, reply) || data?.length !== tagAt) return undefined;
      const plaintext = allocSecret(tagAt);
      data.copy(plaintext);
      return plaintext;
    };
    return this.#exchange(OPERATION.decrypt, payload, deadline, read, freeSecret);
  }

  close(): Promise<void> {
    return this.#connection.close();
  }

  async #ask<T>(operation: Operation, payload: Item[], deadline: Deadline, read: Read<T>): Promise<T> {
    const outcome = await this.#exchange(operation, payload, deadline, read);
    if (outcome.kind === 'failed') throw failureOfReason(outcome.reason, this.keyUri);
    return outcome.value;
  }

  async #exchange<T>(
    operation: Operation,
    payload: Item[],
    deadline: Deadline,
    read: Read<T>,
    dispose: (late: T) => void = () => {},
  ): Promise<Outcome<T>> {
    const bad = (why: string): never => fail('KMS_BAD_REPLY', { keyUri: this.keyUri, why });
    const asked = question(operation);
    const outcomeOf = (message: Buffer): Outcome<T> => {
      const reply = readReply(message, asked);
      if (reply.kind === 'bad') return bad(reply.why);
      if (reply.kind === 'failed') return reply;
      const value = read(reply.payload);
      return value === undefined ? bad('it lacks what was asked for') : { kind: 'done', value };
    };
    return this.#connection.exchange(request(asked, payload), deadline, outcomeOf, (late) => {
      if (late.kind === 'done') dispose(late.value);
    });
  }
}

const PARAMETERS = structure(
  TAG.cryptographicParameters,
  enumeration(TAG.blockCipherMode, GCM),
  enumeration(TAG.cryptographicAlgorithm, AES),
  integer(TAG.tagLength, TAG_BYTES),
);

const isOf = (uid: string, payload: readonly Item[]): boolean =>
  one(payload, TAG.uniqueIdentifier, 'text') === uid;

/** The attributes whose values are enumerations, by name. */
function attributesOf(payload: readonly Item[]): Attributes {
  const attributes = new Map<string, number>();
  for (const item of payload) {
    if (item.tag !== TAG.attribute || item.type !== 'structure') continue;
    const name = one(item.value, TAG.attributeName, 'text');
    const value = one(item.value, TAG.attributeValue, 'enumeration');
    if (name !== undefined && value !== undefined) attributes.set(name, value);
  }
  return Object.fromEntries(attributes);
}
