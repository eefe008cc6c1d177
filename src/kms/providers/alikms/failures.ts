/**
 * The failure of the contract that stands for what Alibaba Cloud KMS answered. Only its own words count as somebody's
 * decision: a `Code` that it has, in a reply that is JSON. Nothing of a reply's text goes on.
 */

import { type Code, SealdiskError } from '../../../errors.js';
import type { HttpReply } from '../../http.js';
import { statusFailure } from '../../transport.js';

const CODES: Readonly<Record<string, Code>> = {
  'Rejected.Disabled': 'KMS_KEY_DISABLED',
  'Rejected.PendingDeletion': 'KMS_KEY_PENDING_DELETION',
  'Rejected.PendingImport': 'KMS_KEY_PENDING_IMPORT',
  'Forbidden.KeyNotFound': 'KMS_KEY_NOT_FOUND',
  'Forbidden.AliasNotFound': 'KMS_KEY_NOT_FOUND',
  'Forbidden.NoPermission': 'KMS_ACCESS_DENIED',
  'Forbidden.RAM': 'KMS_ACCESS_DENIED',
  NoPermission: 'KMS_ACCESS_DENIED',
  'Forbidden.AccessKey': 'KMS_ACCESS_DENIED',
  'Forbidden.KmsServiceNotEnabled': 'KMS_ACCESS_DENIED',
  'Forbidden.InDebt': 'KMS_ACCESS_DENIED',
  'Forbidden.InDebtOverdue': 'KMS_ACCESS_DENIED',
  'Forbidden.ProhibitedByRiskControl': 'KMS_ACCESS_DENIED',
  // An access key that was taken away.
  'InvalidAccessKeyId.NotFound': 'KMS_ACCESS_DENIED',
  'InvalidAccessKeyId.Inactive': 'KMS_ACCESS_DENIED',
  'Rejected.UnsupportedOperation': 'KMS_UNSUPPORTED_KEY',
  UnsupportedOperation: 'KMS_UNSUPPORTED_KEY',
  'Rejected.Throttling': 'KMS_THROTTLED',
  Throttling: 'KMS_THROTTLED',
  'Throttling.User': 'KMS_THROTTLED',
  'Throttling.Api': 'KMS_THROTTLED',
  ServiceUnavailableTemporary: 'KMS_SERVER_ERROR',
  // As some of its versions spell it.
  SerivceUnavailableTemporary: 'KMS_SERVER_ERROR',
  ServiceUnavailable: 'KMS_SERVER_ERROR',
  InternalFailure: 'KMS_SERVER_ERROR',
  InternalError: 'KMS_SERVER_ERROR',
  'Rejected.Unavailable': 'KMS_SERVER_ERROR',
  // A kept connection broke after the request, and it was sent again: the next call is signed anew.
  SignatureNonceUsed: 'KMS_SERVER_ERROR',
  // Nobody took anything away: a time was over, a clock or a secret is wrong.
  SignatureDoesNotMatch: 'KMS_CREDENTIALS',
  IncompleteSignature: 'KMS_CREDENTIALS',
  IllegalTimestamp: 'KMS_CREDENTIALS',
  'InvalidTimeStamp.Expired': 'KMS_CREDENTIALS',
  'InvalidTimeStamp.Format': 'KMS_CREDENTIALS',
  MissingSecurityToken: 'KMS_CREDENTIALS',
  'InvalidSecurityToken.Expired': 'KMS_CREDENTIALS',
  'InvalidSecurityToken.Malformed': 'KMS_CREDENTIALS',
  'InvalidSecurityToken.MismatchWithAccessKey': 'KMS_CREDENTIALS',
};

/** Operations that take a ciphertext, of which InvalidParameter is said. */
const OPENING = ['Decrypt', 'ReEncrypt'];

/** `members`: the object that the reply holds, or undefined for one that is no JSON object. */
export function failureOf(
  reply: HttpReply,
  members: Readonly<Record<string, unknown>> | undefined,
  operation: string,
  keyUri: string,
): SealdiskError {
  const said = typeof members?.Code === 'string' ? members.Code : '';
  const code = Object.hasOwn(CODES, said) ? CODES[said] : undefined;
  if (code !== undefined) return worded(code, said, keyUri);
  if (said === 'InvalidParameter' && OPENING.includes(operation)) {
    return new SealdiskError('KMS_INVALID_CIPHERTEXT', { keyUri });
  }
  const why = `HTTP ${reply.status} is not in the words of Alibaba Cloud KMS`;
  return statusFailure(reply.status, keyUri) ?? new SealdiskError('KMS_BAD_REPLY', { keyUri, why });
}

function worded(code: Code, said: string, keyUri: string): SealdiskError {
  switch (code) {
    case 'KMS_UNSUPPORTED_KEY':
      return new SealdiskError(code, { keyUri, found: 'of another kind', expected: 'a symmetric key' });
    case 'KMS_ACCESS_DENIED':
    case 'KMS_SERVER_ERROR':
    case 'KMS_CREDENTIALS':
      return new SealdiskError(code, { keyUri, why: said });
    default:
      return new SealdiskError(code, { keyUri });
  }
}
