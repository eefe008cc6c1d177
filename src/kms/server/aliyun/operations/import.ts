/** Key material that its owner brings (BYOK). */

import { IMPORT_ALGORITHMS, IMPORT_SPECS } from '../../../local/import.js';
import { type AliyunOperation, DONE, keyOf, timeOf } from '../call.js';
import { invalid, unsupported } from '../errors.js';

/** Known to Alibaba, not to us. */
const UNKNOWN_ALGORITHMS = ['RSAES_PKCS1_V1_5', 'SM2PKE', 'RSAES_OAEP_SHA_256_AES_256_ECB_PKCS7_PAD'];
const BLOB_MAX_BYTES = 4608;
/** Seconds; later than this is no date. */
const EXPIRE_MAX_S = 8_640_000_000_000;

const GetParametersForImport: AliyunOperation = async (call) => {
  const { input, kms, options } = call;
  const asked = input.text('WrappingAlgorithm', 64);
  if (UNKNOWN_ALGORITHMS.includes(asked)) unsupported(asked);
  const algorithm = input.word('WrappingAlgorithm', IMPORT_ALGORITHMS);
  const spec = input.word('WrappingKeySpec', IMPORT_SPECS);
  const { keyId } = await kms.describeKey(await keyOf(call), options);
  const made = await kms.importParameters(keyId, { algorithm, spec }, options);
  return {
    fields: {
      KeyId: keyId,
      ImportToken: made.importToken.toString('base64'),
      PublicKey: made.publicKey.toString('base64'),
      TokenExpireTime: timeOf(made.expiresAt),
    },
  };
};

const ImportKeyMaterial: AliyunOperation = async (call) => {
  const { input, kms, options } = call;
  const importToken = input.blob('ImportToken', BLOB_MAX_BYTES);
  const wrapped = input.blob('EncryptedKeyMaterial', BLOB_MAX_BYTES);
  // 0, like none at all, is never.
  const expireS = input.optionalInteger('KeyMaterialExpireUnix', 0, EXPIRE_MAX_S) ?? 0;
  if (expireS !== 0 && expireS * 1000 <= Date.now()) invalid('KeyMaterialExpireUnix');
  const expiresAt = expireS === 0 ? null : new Date(expireS * 1000).toISOString();
  await kms.importMaterial(await keyOf(call), { importToken, wrapped, expiresAt }, options);
  return DONE;
};

const DeleteKeyMaterial: AliyunOperation = async (call) => {
  await call.kms.deleteMaterial(await keyOf(call), call.options);
  return DONE;
};

export const importOperations = { GetParametersForImport, ImportKeyMaterial, DeleteKeyMaterial };
