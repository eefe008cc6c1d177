/**
 * What a PKCS#11 return value says, in the contract's words.
 *
 * Names are as pkcs11js prints them. A value that says nothing of its cause (CKR_GENERAL_ERROR, CKR_FUNCTION_FAILED) is
 * unreachable: nobody decided.
 */

import { isFailure, SealdiskError } from '../../../errors.js';

/** CKR_AEAD_DECRYPT_FAILED of PKCS#11 3.0, which pkcs11js has no name for. */
const AEAD_DECRYPT_FAILED = 0x35;
/** CKR_ACTION_PROHIBITED of 2.40. */
const ACTION_PROHIBITED = 0x1b;

const PIN: Readonly<Record<string, string>> = {
  CKR_PIN_INCORRECT: 'its PIN is wrong',
  CKR_PIN_INVALID: 'its PIN is wrong',
  CKR_PIN_LEN_RANGE: 'its PIN is wrong',
  CKR_PIN_EXPIRED: 'its PIN has expired',
  CKR_PIN_LOCKED: 'its PIN is locked',
  CKR_USER_PIN_NOT_INITIALIZED: 'no user PIN is set on it',
};

const AWAY = [
  'CKR_DEVICE_ERROR',
  'CKR_DEVICE_REMOVED',
  'CKR_TOKEN_NOT_PRESENT',
  'CKR_TOKEN_NOT_RECOGNIZED',
  'CKR_SLOT_ID_INVALID',
];

const BAD_DATA = ['CKR_ENCRYPTED_DATA_INVALID', 'CKR_ENCRYPTED_DATA_LEN_RANGE', `CKR ${AEAD_DECRYPT_FAILED}`];
const REFUSED = ['CKR_FUNCTION_REJECTED', `CKR ${ACTION_PROHIBITED}`];
const UNABLE = ['CKR_MECHANISM_INVALID', 'CKR_KEY_SIZE_RANGE', 'CKR_KEY_TYPE_INCONSISTENT'];

/** The name of a return value, `CKR n` where pkcs11js has none; undefined when `error` is none. */
export function ckrOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const [, name] = /^(CKR_[A-Z0-9_]+)/.exec(error.message) ?? [];
  if (name !== 'CKR_VENDOR_DEFINED') return name;
  const code = (error as { code?: unknown }).code ?? /:(\d+)/.exec(error.message)?.[1];
  return `CKR ${code}`;
}

export const isPinRefusal = (error: unknown): boolean => (ckrOf(error) ?? '') in PIN;

export const isBadData = (error: unknown): boolean => BAD_DATA.includes(ckrOf(error) ?? '');

/** True where a fresh start of the module may give another answer. A PIN is never tried twice. */
export function mayPass(error: unknown): boolean {
  if (isFailure(error)) return error.code === 'KMS_CONNECTION';
  const ckr = ckrOf(error);
  return ckr !== undefined && !(ckr in PIN) && failureOf(error, '').group === 'unreachable';
}

export function failureOf(error: unknown, keyUri: string): SealdiskError {
  if (isFailure(error)) return error;
  const ckr = ckrOf(error);
  if (ckr === undefined) {
    const why = error instanceof Error ? error.message : String(error);
    return new SealdiskError('KMS_SERVER_ERROR', { keyUri, why }, error);
  }
  if (ckr in PIN) return new SealdiskError('KMS_ACCESS_DENIED', { keyUri, why: `${PIN[ckr]} (${ckr})` });
  if (ckr === 'CKR_KEY_FUNCTION_NOT_PERMITTED') return new SealdiskError('KMS_KEY_DISABLED', { keyUri });
  if (BAD_DATA.includes(ckr)) return new SealdiskError('KMS_INVALID_CIPHERTEXT', { keyUri });
  if (REFUSED.includes(ckr)) {
    return new SealdiskError('KMS_ACCESS_DENIED', { keyUri, why: `the token refuses (${ckr})` });
  }
  if (UNABLE.includes(ckr)) {
    const found = `not for CKM_AES_GCM on this token (${ckr})`;
    return new SealdiskError('KMS_UNSUPPORTED_KEY', { keyUri, found, expected: 'an AES key that is' });
  }
  if (AWAY.includes(ckr)) return new SealdiskError('KMS_CONNECTION', { keyUri, why: ckr });
  return new SealdiskError('KMS_SERVER_ERROR', { keyUri, why: ckr });
}
