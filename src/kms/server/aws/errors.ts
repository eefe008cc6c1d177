/**
 * AWS's own names for what goes wrong: `{"__type": NAME, "message": ...}` and its status, as the KMS API reference
 * documents them. SDKs retry by name (Throttling, KMSInternal, KeyUnavailable, DependencyTimeout), so a name is chosen by
 * what the caller should do.
 */

import { isFailure, type SealdiskError } from '../../../errors.js';
import type { Reply } from '../protocol.js';

/** Every other name has 400. */
const STATUS = {
  DependencyTimeoutException: 503,
  KMSInternalException: 500,
  KeyUnavailableException: 500,
} as const;

export class AwsError extends Error {
  constructor(
    /** `__type` of the reply. */
    readonly type: string,
    message: string,
  ) {
    super(message);
  }
}

export function refuse(type: string, message: string): never {
  throw new AwsError(type, message);
}

export const invalid = (message: string): never =>
  refuse('ValidationException', `1 validation error detected: ${message}`);

/** The reply for whatever was thrown. What is not for callers to know says only that it failed. */
export function errorReply(error: unknown, requestId: string): Reply {
  const { type, message } = error instanceof AwsError ? error : worded(error);
  const status = STATUS[type as keyof typeof STATUS] ?? 400;
  const body = Buffer.from(JSON.stringify({ __type: type, message }));
  return { status, headers: headersOf(requestId), body };
}

export const headersOf = (requestId: string): Record<string, string> => ({
  'content-type': 'application/x-amz-json-1.1',
  'x-amzn-requestid': requestId,
});

function worded(error: unknown): { type: string; message: string } {
  if (!isFailure(error)) return { type: 'KMSInternalException', message: 'An internal error occurred.' };
  const type = typeOf(error);
  return { type, message: messageOf(error, type) };
}

/** AWS tells material that is not the key's from what does not unwrap at all, which is so for a cause. */
function typeOf(error: SealdiskError): string {
  if (isFailure(error, 'KMS_IMPORT_MATERIAL') && error.cause !== undefined)
    return 'InvalidCiphertextException';
  return TYPES[error.code] ?? 'KMSInternalException';
}

/** AWS's name for a code of ours. */
const TYPES: Readonly<Partial<Record<SealdiskError['code'], string>>> = {
  KMS_KEY_DISABLED: 'DisabledException',
  KMS_KEY_PENDING_DELETION: 'KMSInvalidStateException',
  KMS_KEY_PENDING_IMPORT: 'KMSInvalidStateException',
  KMS_STATE: 'KMSInvalidStateException',
  KMS_PROTECTED: 'KMSInvalidStateException',
  KMS_KEY_NOT_FOUND: 'NotFoundException',
  KMS_ALIAS_NOT_FOUND: 'NotFoundException',
  KMS_KEY_KIND: 'UnsupportedOperationException',
  KMS_IMPORT_TOKEN: 'InvalidImportTokenException',
  KMS_IMPORT_EXPIRED: 'ExpiredImportTokenException',
  KMS_IMPORT_MATERIAL: 'IncorrectKeyMaterialException',
  KMS_ACCESS_DENIED: 'AccessDeniedException',
  KMS_SERVICE_KEY: 'AccessDeniedException',
  KMS_INVALID_CIPHERTEXT: 'InvalidCiphertextException',
  KMS_WRONG_CONTEXT: 'InvalidCiphertextException',
  KMS_UNSUPPORTED_KEY: 'InvalidKeyUsageException',
  KMS_ALIAS_TAKEN: 'AlreadyExistsException',
  KMS_ALIAS_SYNTAX: 'InvalidAliasNameException',
  KEY_URI_SYNTAX: 'NotFoundException',
  USAGE: 'ValidationException',
  KMS_THROTTLED: 'ThrottlingException',
  KMS_TIMEOUT: 'DependencyTimeoutException',
  KMS_CONNECTION: 'KeyUnavailableException',
};

function messageOf(error: SealdiskError, type: string): string {
  switch (type) {
    case 'KMSInternalException':
      return 'An internal error occurred.'; // paths of this machine are nobody's business
    case 'KeyUnavailableException':
      return 'The key store is not available; try again.';
    case 'DependencyTimeoutException':
      return 'The key store did not answer in time; try again.';
    case 'ThrottlingException':
      return 'Rate exceeded';
    case 'InvalidCiphertextException':
      return 'The ciphertext was altered, is none of ours, or belongs to another encryption context.';
    default:
      return error.message.replaceAll('local:', '');
  }
}
