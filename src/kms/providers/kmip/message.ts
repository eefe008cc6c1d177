/**
 * The messages of KMIP 1.4 that sealdisk sends and reads: one operation each (section 7.1), with an answer that must be to
 * that operation.
 *
 * A request may hold a key, so it is written into secure memory; so is what is read of a reply a view of the reply.
 */

import { randomBytes } from 'node:crypto';
import { allocSecret } from '../../local/secret.js';
import type { SecretBytes } from '../../provider.js';
import { decode, encode, encodedBytes, type Item, type Type, type ValueOf } from './ttlv.js';

export const TAG = {
  attribute: 0x420008,
  attributeName: 0x42000a,
  attributeValue: 0x42000b,
  batchCount: 0x42000d,
  batchItem: 0x42000f,
  blockCipherMode: 0x420011,
  cryptographicAlgorithm: 0x420028,
  cryptographicParameters: 0x42002b,
  nonce: 0x42003d,
  maximumResponseSize: 0x420050,
  nameType: 0x420054,
  nameValue: 0x420055,
  operation: 0x42005c,
  protocolVersion: 0x420069,
  major: 0x42006a,
  minor: 0x42006b,
  requestHeader: 0x420077,
  requestMessage: 0x420078,
  requestPayload: 0x420079,
  responseHeader: 0x42007a,
  responseMessage: 0x42007b,
  responsePayload: 0x42007c,
  resultReason: 0x42007e,
  resultStatus: 0x42007f,
  uniqueBatchItemId: 0x420093,
  uniqueIdentifier: 0x420094,
  data: 0x4200c2,
  tagLength: 0x4200ce,
  additionalData: 0x4200fe,
  authenticationTag: 0x4200ff,
} as const;

export const OPERATION = { locate: 0x08, getAttributes: 0x0b, encrypt: 0x1f, decrypt: 0x20 } as const;
export type Operation = (typeof OPERATION)[keyof typeof OPERATION];

const MARK_BYTES = 8;
/** Far more than an answer to any of these takes. */
export const REPLY_MAX_BYTES = 16_384;

const SUCCESS = 0;
const OPERATION_FAILED = 1;

export const structure = (tag: number, ...value: Item[]): Item => ({ tag, type: 'structure', value });
export const text = (tag: number, value: string): Item => ({ tag, type: 'text', value });
export const bytes = (tag: number, value: Buffer): Item => ({ tag, type: 'bytes', value });
export const enumeration = (tag: number, value: number): Item => ({ tag, type: 'enumeration', value });
export const integer = (tag: number, value: number): Item => ({ tag, type: 'integer', value });

/** What is asked, and the mark by which its answer is known. */
export interface Question {
  readonly operation: Operation;
  readonly mark: Buffer;
}

export const question = (operation: Operation): Question => ({ operation, mark: randomBytes(MARK_BYTES) });

/** The request in secure memory, which the caller frees. */
export function request({ operation, mark }: Question, payload: readonly Item[]): SecretBytes {
  const message = structure(
    TAG.requestMessage,
    structure(
      TAG.requestHeader,
      structure(TAG.protocolVersion, integer(TAG.major, 1), integer(TAG.minor, 4)),
      integer(TAG.maximumResponseSize, REPLY_MAX_BYTES),
      integer(TAG.batchCount, 1),
    ),
    structure(
      TAG.batchItem,
      enumeration(TAG.operation, operation),
      bytes(TAG.uniqueBatchItemId, mark),
      structure(TAG.requestPayload, ...payload),
    ),
  );
  const written = allocSecret(encodedBytes(message)).fill(0);
  encode(message, written);
  return written;
}

/** `failed`: the server's own refusal, with its result reason. `bad`: no answer of a KMIP server to what was asked. */
export type Reply =
  | { readonly kind: 'done'; readonly payload: readonly Item[] }
  | { readonly kind: 'failed'; readonly reason: number }
  | { readonly kind: 'bad'; readonly why: string };

export function readReply(message: Buffer, asked: Question): Reply {
  const decoded = decode(message);
  if (decoded.kind === 'bad') return { kind: 'bad', why: `no TTLV: ${decoded.why}` };
  const { item } = decoded;
  if (item.tag !== TAG.responseMessage || item.type !== 'structure')
    return { kind: 'bad', why: 'no KMIP response' };
  const [header, batchItem, ...more] = item.value;
  const count =
    header?.tag === TAG.responseHeader ? one([header], TAG.responseHeader, 'structure') : undefined;
  if (count === undefined || one(count, TAG.batchCount, 'integer') !== 1 || more.length > 0) {
    return { kind: 'bad', why: 'not one result' };
  }
  const result = batchItem && one([batchItem], TAG.batchItem, 'structure');
  return result ? readResult(result, asked) : { kind: 'bad', why: 'not one result' };
}

function readResult(result: readonly Item[], { operation, mark }: Question): Reply {
  const status = one(result, TAG.resultStatus, 'enumeration');
  const answered = one(result, TAG.operation, 'enumeration');
  const marked = one(result, TAG.uniqueBatchItemId, 'bytes');
  // A server that could not read the request fails it without the mark.
  if (marked ? !marked.equals(mark) : status === SUCCESS)
    return { kind: 'bad', why: 'an answer to something else' };
  if (status === OPERATION_FAILED) {
    const reason = one(result, TAG.resultReason, 'enumeration');
    return reason === undefined
      ? { kind: 'bad', why: 'a failure without a reason' }
      : { kind: 'failed', reason };
  }
  if (status !== SUCCESS) return { kind: 'bad', why: `result status ${status ?? 'missing'}` };
  const payload = one(result, TAG.responsePayload, 'structure');
  if (answered !== operation || !payload) return { kind: 'bad', why: 'an answer to something else' };
  return { kind: 'done', payload };
}

/** The value of the only item of `items` with this tag, if it is of this type. */
export function one<T extends Type>(items: readonly Item[], tag: number, type: T): ValueOf<T> | undefined {
  const [found, ...more] = items.filter((item) => item.tag === tag);
  return found?.type === type && more.length === 0 ? (found.value as ValueOf<T>) : undefined;
}
