/** Data keys and small secrets: made, wrapped, unwrapped and wrapped anew. */

import { peekEnvelope } from '../../../local/envelope.js';
import { freeSecret } from '../../../local/secret.js';
import type { SecretBytes } from '../../../provider.js';
import { type AwsCall, type AwsOperation, type AwsOutput, keyOf } from '../call.js';
import { invalid, refuse } from '../errors.js';

export const PLAINTEXT_MAX_BYTES = 4096;
const CIPHERTEXT_MAX_BYTES = 8192;
const SIZES = { AES_128: 16, AES_256: 32 } as const;
const ALGORITHM = 'SYMMETRIC_DEFAULT';

const GenerateDataKey: AwsOperation = async (call) => {
  const { plaintext, ...made } = await generate(call);
  return { fields: fieldsOf(call, made), plaintext };
};

const GenerateDataKeyWithoutPlaintext: AwsOperation = async (call) => {
  const { plaintext, ...made } = await generate(call);
  freeSecret(plaintext);
  return { fields: fieldsOf(call, made) };
};

async function generate(call: AwsCall) {
  const { input, kms, options } = call;
  checkPlain(call);
  const spec = input.optionalWord('KeySpec', Object.keys(SIZES) as (keyof typeof SIZES)[]);
  const bytes = input.optionalInteger('NumberOfBytes', 1, 1024);
  if ((spec === undefined) === (bytes === undefined)) invalid('Give either KeySpec or NumberOfBytes');
  const context = input.context('EncryptionContext');
  const sizeBytes = bytes ?? SIZES[spec ?? 'AES_256'];
  const made = await kms.generateDataKey(await keyOf(call), sizeBytes, context, options);
  return endDry(call, made);
}

const fieldsOf = ({ names }: AwsCall, made: { ciphertext: Buffer; keyId: string }) => ({
  CiphertextBlob: made.ciphertext.toString('base64'),
  KeyId: names.keyArn(made.keyId),
});

const Encrypt: AwsOperation = async (call) => {
  const { input, kms, options, plaintext } = call;
  checkPlain(call);
  checkAlgorithm(call, 'EncryptionAlgorithm');
  const context = input.context('EncryptionContext');
  const ref = await keyOf(call);
  if (plaintext === undefined) return invalid("Value null at 'plaintext' failed to satisfy: not null");
  const made = endDry(call, await kms.encrypt(ref, plaintext, context, options));
  return { fields: { ...fieldsOf(call, made), EncryptionAlgorithm: ALGORITHM } };
};

const Decrypt: AwsOperation = async (call): Promise<AwsOutput> => {
  const { input, kms, names, options } = call;
  checkPlain(call);
  checkAlgorithm(call, 'EncryptionAlgorithm');
  const blob = input.blob('CiphertextBlob', CIPHERTEXT_MAX_BYTES);
  const context = input.context('EncryptionContext');
  await checkKey(call, blob, 'KeyId');
  const { plaintext, keyId } = endDry(call, await kms.decrypt(blob, context, options));
  return { fields: { KeyId: names.keyArn(keyId), EncryptionAlgorithm: ALGORITHM }, plaintext };
};

const ReEncrypt: AwsOperation = async (call) => {
  const { input, kms, names, options } = call;
  checkAlgorithm(call, 'SourceEncryptionAlgorithm');
  checkAlgorithm(call, 'DestinationEncryptionAlgorithm');
  const blob = input.blob('CiphertextBlob', CIPHERTEXT_MAX_BYTES);
  const from = input.context('SourceEncryptionContext');
  const to = input.context('DestinationEncryptionContext');
  await checkKey(call, blob, 'SourceKeyId');
  const destination = await keyOf(call, 'DestinationKeyId');
  const made = endDry(call, await kms.reEncrypt(blob, from, destination, to, options));
  return {
    fields: {
      ...fieldsOf(call, made),
      SourceKeyId: names.keyArn(made.sourceKeyId),
      SourceEncryptionAlgorithm: ALGORITHM,
      DestinationEncryptionAlgorithm: ALGORITHM,
    },
  };
};

/** The key that wrapped is one that the caller may use, and the one that the member `name` names, where it is given. */
async function checkKey(call: AwsCall, blob: Buffer, name: string): Promise<void> {
  const { input, kms, names, caller, operation, options } = call;
  const keyId = peekEnvelope(blob)?.keyId;
  if (keyId === undefined) return refuse('InvalidCiphertextException', 'The ciphertext is none of ours');
  await caller.mayUse(operation, keyId);
  if (!input.has(name)) return;
  const ref = names.refOf(input.text(name, 2048));
  const named = ref.startsWith('alias/') ? (await kms.describeKey(ref, options)).keyId : ref;
  if (named !== keyId) {
    refuse(
      'IncorrectKeyException',
      'The key ID in the request does not identify the key that encrypted this',
    );
  }
}

function checkAlgorithm({ input }: AwsCall, name: string): void {
  const algorithm = input.optionalText(name, 64) ?? ALGORITHM;
  if (algorithm !== ALGORITHM) {
    refuse('InvalidKeyUsageException', `${algorithm} is not an algorithm of symmetric keys`);
  }
}

/** What would answer to somebody else than the caller, or under a grant, is refused. */
function checkPlain({ input }: AwsCall): void {
  if (input.has('Recipient')) refuse('UnsupportedOperationException', 'Recipient is not supported here');
  if (input.list('GrantTokens').length > 0)
    refuse('InvalidGrantTokenException', 'There are no grant tokens here');
}

/** Ends a dry run, once all was done that could have failed; its result is nobody's. */
function endDry<T extends object>({ input }: AwsCall, made: T): T {
  if (!input.flag('DryRun')) return made;
  if ('plaintext' in made) freeSecret(made.plaintext as SecretBytes);
  return refuse(
    'DryRunOperationException',
    'The request would have succeeded, but the DryRun option is set.',
  );
}

export const dataOperations = {
  GenerateDataKey,
  GenerateDataKeyWithoutPlaintext,
  Encrypt,
  Decrypt,
  ReEncrypt,
};
