/** What a KMIP server's result reason says, in the contract's words (KMIP 1.4, section 9.1.3.2.29; 2.0 has more). */

import { SealdiskError } from '../../../errors.js';

const REASON = {
  itemNotFound: 0x01,
  responseTooLarge: 0x02,
  authenticationNotSuccessful: 0x03,
  operationNotSupported: 0x05,
  featureNotSupported: 0x08,
  cryptographicFailure: 0x0a,
  illegalOperation: 0x0b,
  permissionDenied: 0x0c,
  objectArchived: 0x0d,
  keyValueNotPresent: 0x13,
  objectDestroyed: 0x36,
  objectNotFound: 0x37,
  notAuthorised: 0x39,
  serverLimitExceeded: 0x3a,
  wrongKeyLifecycleState: 0x43,
} as const;

/** Reasons after which nothing is learned by asking whether the key works: the server did not come to use it. */
export const isDecided = (reason: number): boolean => failureOfReason(reason, '').group !== 'unreachable';

export function failureOfReason(reason: number, keyUri: string): SealdiskError {
  const why = `result reason 0x${reason.toString(16)}`;
  switch (reason) {
    case REASON.itemNotFound:
    case REASON.objectDestroyed:
    case REASON.objectNotFound:
      return new SealdiskError('KMS_KEY_NOT_FOUND', { keyUri });
    case REASON.authenticationNotSuccessful:
    case REASON.notAuthorised:
    case REASON.permissionDenied:
      return new SealdiskError('KMS_ACCESS_DENIED', { keyUri, why });
    case REASON.illegalOperation:
    case REASON.wrongKeyLifecycleState:
    case REASON.objectArchived:
      return new SealdiskError('KMS_KEY_DISABLED', { keyUri });
    case REASON.keyValueNotPresent:
      return new SealdiskError('KMS_KEY_PENDING_IMPORT', { keyUri });
    case REASON.cryptographicFailure:
      return new SealdiskError('KMS_INVALID_CIPHERTEXT', { keyUri });
    case REASON.serverLimitExceeded:
      return new SealdiskError('KMS_THROTTLED', { keyUri });
    case REASON.responseTooLarge:
      return new SealdiskError('KMS_BAD_REPLY', { keyUri, why });
    case REASON.operationNotSupported:
    case REASON.featureNotSupported:
      return new SealdiskError('KMS_SERVER_ERROR', {
        keyUri,
        why: `${why}: it lacks KMIP 1.4 Encrypt, Decrypt or GCM`,
      });
    default:
      return new SealdiskError('KMS_SERVER_ERROR', { keyUri, why });
  }
}
