/** Key material that its owner brings (BYOK). */

import { type AwsCall, type AwsOperation, epochSeconds, keyOf } from '../call.js';
import { invalid, refuse } from '../errors.js';

const ALGORITHMS = ['RSAES_OAEP_SHA_256', 'RSAES_OAEP_SHA_1'] as const;
const WRAPPING_SPECS = ['RSA_2048', 'RSA_3072', 'RSA_4096'] as const;
const UNKNOWN_ALGORITHMS = [
  'RSAES_PKCS1_V1_5',
  'RSA_AES_KEY_WRAP_SHA_1',
  'RSA_AES_KEY_WRAP_SHA_256',
  'SM2PKE',
];
const MODELS = ['KEY_MATERIAL_EXPIRES', 'KEY_MATERIAL_DOES_NOT_EXPIRE'] as const;
const BLOB_MAX_BYTES = 6144;

const GetParametersForImport: AwsOperation = async (call) => {
  const { input, kms, names, options } = call;
  const asked = input.text('WrappingAlgorithm', 64);
  if (UNKNOWN_ALGORITHMS.includes(asked))
    refuse('UnsupportedOperationException', `${asked} is not supported here`);
  const algorithm = input.optionalWord('WrappingAlgorithm', ALGORITHMS) ?? 'RSAES_OAEP_SHA_256';
  input.text('WrappingKeySpec', 64);
  const spec = input.optionalWord('WrappingKeySpec', WRAPPING_SPECS) ?? 'RSA_2048';
  const keyId = await importable(call);
  const { publicKey, importToken, expiresAt } = await kms.importParameters(
    keyId,
    { algorithm, spec },
    options,
  );
  return {
    fields: {
      KeyId: names.keyArn(keyId),
      ImportToken: importToken.toString('base64'),
      PublicKey: publicKey.toString('base64'),
      ParametersValidTo: epochSeconds(expiresAt),
    },
  };
};

const ImportKeyMaterial: AwsOperation = async (call) => {
  const { input, kms, names, options } = call;
  const importToken = input.blob('ImportToken', BLOB_MAX_BYTES);
  const wrapped = input.blob('EncryptedKeyMaterial', BLOB_MAX_BYTES);
  const expiresAt = expiryOf(call);
  const keyId = await importable(call);
  await kms.importMaterial(keyId, { importToken, wrapped, expiresAt }, options);
  return { fields: { KeyId: names.keyArn(keyId) } };
};

/** AWS's default is that material expires, and then it has to be said when. */
function expiryOf({ input }: AwsCall): string | null {
  const model = input.optionalWord('ExpirationModel', MODELS) ?? 'KEY_MATERIAL_EXPIRES';
  const validToMs = input.optionalDateMs('ValidTo');
  if (model === 'KEY_MATERIAL_DOES_NOT_EXPIRE') {
    return validToMs === undefined ? null : invalid('ValidTo is for material that expires');
  }
  if (validToMs === undefined || validToMs <= Date.now()) return invalid('ValidTo must be a time to come');
  return new Date(validToMs).toISOString();
}

const DeleteImportedKeyMaterial: AwsOperation = async (call) => {
  const keyId = await importable(call);
  await call.kms.deleteMaterial(keyId, call.options);
  return { fields: { KeyId: call.names.keyArn(keyId) } };
};

/** Only keys that were made for it take material. */
async function importable(call: AwsCall): Promise<string> {
  const key = await call.kms.describeKey(await keyOf(call), call.options);
  if (key.origin === 'external') return key.keyId;
  return refuse('UnsupportedOperationException', `${call.names.keyArn(key.keyId)} origin is AWS_KMS`);
}

export const importOperations = { GetParametersForImport, ImportKeyMaterial, DeleteImportedKeyMaterial };
