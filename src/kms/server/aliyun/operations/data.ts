/** Data keys and small secrets: made, wrapped, unwrapped and wrapped anew. */

import { PLAINTEXT_MAX_BYTES, peekEnvelope } from '../../../local/envelope.js';
import { freeSecret } from '../../../local/secret.js';
import { type AliyunCall, type AliyunOperation, keyOf, refOf } from '../call.js';
import { invalid, missing } from '../errors.js';

const CIPHERTEXT_MAX_BYTES = PLAINTEXT_MAX_BYTES + 256;
const SIZES = { AES_256: 32, AES_128: 16 } as const;

const GenerateDataKey: AliyunOperation = async (call) => {
  const { plaintext, ...made } = await generate(call);
  return { fields: wrappedFields(made), plaintext };
};

const GenerateDataKeyWithoutPlaintext: AliyunOperation = async (call) => {
  const { plaintext, ...made } = await generate(call);
  freeSecret(plaintext);
  return { fields: wrappedFields(made) };
};

async function generate(call: AliyunCall) {
  const { input, kms, options } = call;
  const spec = input.optionalWord('KeySpec', Object.keys(SIZES) as (keyof typeof SIZES)[]) ?? 'AES_256';
  const sizeBytes = input.optionalInteger('NumberOfBytes', 1, 1024) ?? SIZES[spec];
  const context = input.context('EncryptionContext');
  return kms.generateDataKey(await keyOf(call), sizeBytes, context, options);
}

const wrappedFields = (made: { ciphertext: Buffer; keyId: string; keyVersion: string }) => ({
  KeyId: made.keyId,
  KeyVersionId: made.keyVersion,
  CiphertextBlob: made.ciphertext.toString('base64'),
});

const Encrypt: AliyunOperation = async (call) => {
  const { input, kms, options, plaintext } = call;
  const context = input.context('EncryptionContext');
  const ref = await keyOf(call);
  return {
    fields: wrappedFields(await kms.encrypt(ref, plaintext ?? missing('Plaintext'), context, options)),
  };
};

const Decrypt: AliyunOperation = async (call) => {
  const { input, caller, kms, options } = call;
  const blob = input.blob('CiphertextBlob', CIPHERTEXT_MAX_BYTES);
  const context = input.context('EncryptionContext');
  await caller.mayUse('Decrypt', wrapperOf(blob));
  const { plaintext, keyId, keyVersion } = await kms.decrypt(blob, context, options);
  return { fields: { KeyId: keyId, KeyVersionId: keyVersion }, plaintext };
};

const ReEncrypt: AliyunOperation = async (call) => {
  const { input, caller, kms, options } = call;
  const blob = input.blob('CiphertextBlob', CIPHERTEXT_MAX_BYTES);
  const from = input.context('SourceEncryptionContext');
  const to = input.context('DestinationEncryptionContext');
  const source = wrapperOf(blob);
  await caller.mayUse('ReEncrypt', source);
  if (input.has('SourceKeyId')) await checkSource(call, source);
  const destination = await keyOf(call, 'DestinationKeyId');
  return { fields: wrappedFields(await kms.reEncrypt(blob, from, destination, to, options)) };
};

/** The key that wrapped `blob`, by its own word. */
const wrapperOf = (blob: Buffer): string => peekEnvelope(blob)?.keyId ?? invalid('CiphertextBlob');

async function checkSource({ input, kms, options }: AliyunCall, source: string): Promise<void> {
  const ref = refOf(input.text('SourceKeyId', 512));
  const named = ref.startsWith('alias/') ? (await kms.describeKey(ref, options)).keyId : ref;
  if (named !== source) invalid('SourceKeyId');
}

export const dataOperations = {
  GenerateDataKey,
  GenerateDataKeyWithoutPlaintext,
  Encrypt,
  Decrypt,
  ReEncrypt,
};
