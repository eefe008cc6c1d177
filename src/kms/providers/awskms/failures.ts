/**
 * The failure of the contract that stands for what the AWS SDK threw.
 *
 * Only AWS's own words count as somebody's decision: a name of an error that AWS KMS has, in a reply that is JSON. Nothing
 * of a reply or of an error's text goes on, and no error of the SDK as a cause: it may hold a whole reply.
 */

import { type Code, isFailure, SealdiskError } from '../../../errors.js';
import { statusFailure, transportFailure } from '../../transport.js';

const NAMES: Readonly<Record<string, Code>> = {
  DisabledException: 'KMS_KEY_DISABLED',
  NotFoundException: 'KMS_KEY_NOT_FOUND',
  AccessDeniedException: 'KMS_ACCESS_DENIED',
  // An access key that was taken away.
  UnrecognizedClientException: 'KMS_ACCESS_DENIED',
  InvalidClientTokenId: 'KMS_ACCESS_DENIED',
  InvalidCiphertextException: 'KMS_INVALID_CIPHERTEXT',
  IncorrectKeyException: 'KMS_INVALID_CIPHERTEXT',
  InvalidKeyUsageException: 'KMS_UNSUPPORTED_KEY',
  UnsupportedOperationException: 'KMS_UNSUPPORTED_KEY',
  ThrottlingException: 'KMS_THROTTLED',
  LimitExceededException: 'KMS_THROTTLED',
  TooManyRequestsException: 'KMS_THROTTLED',
  RequestLimitExceeded: 'KMS_THROTTLED',
  KMSInternalException: 'KMS_SERVER_ERROR',
  KeyUnavailableException: 'KMS_SERVER_ERROR',
  DependencyTimeoutException: 'KMS_SERVER_ERROR',
  ServiceUnavailableException: 'KMS_SERVER_ERROR',
  InternalFailure: 'KMS_SERVER_ERROR',
  // Nobody took anything away: a time was over, a clock or a secret is wrong.
  ExpiredTokenException: 'KMS_CREDENTIALS',
  ExpiredToken: 'KMS_CREDENTIALS',
  RequestExpired: 'KMS_CREDENTIALS',
  InvalidSignatureException: 'KMS_CREDENTIALS',
  SignatureDoesNotMatch: 'KMS_CREDENTIALS',
  IncompleteSignatureException: 'KMS_CREDENTIALS',
  MissingAuthenticationTokenException: 'KMS_CREDENTIALS',
};

/** The SDK's own, thrown before anything was sent. */
const NO_CREDENTIALS = ['CredentialsProviderError', 'TokenProviderError', 'ProviderError'];

/** `status`: of the last reply, where one came. */
export function failureOf(error: unknown, status: number | undefined, keyUri: string): SealdiskError {
  if (isFailure(error)) return error;
  const { name } = error instanceof Error ? error : { name: '' };
  if (status === undefined) return unsent(error, name, keyUri);
  const code = Object.hasOwn(NAMES, name) ? NAMES[name] : undefined;
  if (code !== undefined) return worded(code, name, keyUri);
  return (
    statusFailure(status, keyUri) ??
    new SealdiskError('KMS_BAD_REPLY', { keyUri, why: `HTTP ${status} is not in the words of AWS KMS` })
  );
}

/** True when AWS says that the key's state forbids it, without a name for the state. */
export const isStateError = (error: unknown): boolean =>
  error instanceof Error && error.name === 'KMSInvalidStateException';

function unsent(error: unknown, name: string, keyUri: string): SealdiskError {
  if (NO_CREDENTIALS.includes(name)) {
    return new SealdiskError('KMS_CREDENTIALS', { keyUri, why: 'the AWS SDK finds none' });
  }
  return (
    transportFailure(error, keyUri) ??
    new SealdiskError('KMS_CREDENTIALS', { keyUri, why: `getting them failed (${name})` })
  );
}

function worded(code: Code, name: string, keyUri: string): SealdiskError {
  switch (code) {
    case 'KMS_UNSUPPORTED_KEY':
      return new SealdiskError(code, { keyUri, found: 'of another kind', expected: 'SYMMETRIC_DEFAULT' });
    case 'KMS_ACCESS_DENIED':
    case 'KMS_SERVER_ERROR':
    case 'KMS_CREDENTIALS':
      return new SealdiskError(code, { keyUri, why: name });
    default:
      return new SealdiskError(code, { keyUri });
  }
}
