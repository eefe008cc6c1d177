/**
 * Alibaba Cloud's own names for what goes wrong: `{Code, Message, RequestId, HostId, Recommend}` and the HTTP status, as
 * the KMS documentation has them. Always JSON: its SDKs throw a SyntaxError on anything else.
 */

import { isFailure, type SealdiskError } from '../../../errors.js';
import type { KeyState } from '../../provider.js';
import type { Reply } from '../protocol.js';

export class AliyunError extends Error {
  constructor(
    readonly status: number,
    /** `Code` of the reply. */
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

export function refuse(status: number, code: string, message: string): never {
  throw new AliyunError(status, code, message);
}

export const missing = (name: string): never =>
  refuse(400, 'MissingParameter', `The parameter "${name}" is needed but not provided.`);

export const invalid = (name: string): never =>
  refuse(400, 'InvalidParameter', `The specified parameter "${name}" is not valid.`);

export const unsupported = (what: string): never =>
  refuse(400, 'Rejected.UnsupportedOperation', `Unsupported operation: ${what}.`);

/** The reply for whatever was thrown by `operation`. What is not for callers to know says only that it failed. */
export function errorReply(error: unknown, operation: string, requestId: string, host: string): Reply {
  const { status, code, message } = error instanceof AliyunError ? error : worded(error, operation);
  const said = { RequestId: requestId, HostId: host, Code: code, Message: message, Recommend: '' };
  return jsonReply(status, Buffer.from(JSON.stringify(said)), requestId);
}

export const jsonReply = (status: number, body: Buffer, requestId: string): Reply => ({
  status,
  headers: { 'content-type': 'application/json;charset=utf-8', 'x-acs-request-id': requestId },
  body,
});

function worded(error: unknown, operation: string): AliyunError {
  if (!isFailure(error)) return INTERNAL;
  if (isFailure(error, 'KMS_STATE')) return stateError(error.facts.state as KeyState, operation);
  if (isFailure(error, 'KMS_KEY_NOT_FOUND') && error.facts.keyUri.startsWith('local:alias/')) {
    return ALIAS_NOT_FOUND;
  }
  return ERRORS[error.code] ?? INTERNAL;
}

/** These say that the change failed, whatever the state; every other names the state (the documentation's own table). */
const CHANGES_OF_STATE = [
  'EnableKey',
  'DisableKey',
  'ScheduleKeyDeletion',
  'CancelKeyDeletion',
  'CreateAlias',
  'ImportKeyMaterial',
  'DeleteKeyMaterial',
  'GetParametersForImport',
];

const rejected = (state: string): AliyunError =>
  new AliyunError(409, `Rejected.${state}`, `The request was rejected because the key state is ${state}.`);

const DISABLED = rejected('Disabled');
const PENDING_DELETION = rejected('PendingDeletion');
const PENDING_IMPORT = rejected('PendingImport');
const STATE_MODIFIED_FAILED = new AliyunError(
  409,
  'Rejected.StateModifiedFailed',
  'Keystate modified failed.',
);

function stateError(state: KeyState, operation: string): AliyunError {
  if (CHANGES_OF_STATE.includes(operation)) return STATE_MODIFIED_FAILED;
  switch (state) {
    case 'disabled':
      return DISABLED;
    case 'pendingDeletion':
      return PENDING_DELETION;
    case 'pendingImport':
      return PENDING_IMPORT;
    case 'enabled':
      return STATE_MODIFIED_FAILED;
  }
}

const INTERNAL = new AliyunError(500, 'InternalFailure', 'Internal Failure.');
const AWAY = new AliyunError(503, 'ServiceUnavailableTemporary', 'Service Unavailable Temporary.');
const KEY_NOT_FOUND = new AliyunError(404, 'Forbidden.KeyNotFound', 'The specified Key is not found.');
const ALIAS_NOT_FOUND = new AliyunError(404, 'Forbidden.AliasNotFound', 'The specified Alias is not found.');
const NO_PERMISSION = new AliyunError(
  403,
  'Forbidden.NoPermission',
  'This operation is forbidden by permission system.',
);
const BAD_CIPHERTEXT = new AliyunError(
  400,
  'InvalidParameter',
  'The specified parameter "CiphertextBlob" is not valid.',
);
const UNSUPPORTED = new AliyunError(400, 'Rejected.UnsupportedOperation', 'Unsupported operation.');

/** Alibaba's error for a code of ours. */
const ERRORS: Readonly<Partial<Record<SealdiskError['code'], AliyunError>>> = {
  KMS_KEY_DISABLED: DISABLED,
  KMS_KEY_PENDING_DELETION: PENDING_DELETION,
  KMS_KEY_PENDING_IMPORT: PENDING_IMPORT,
  KMS_KEY_NOT_FOUND: KEY_NOT_FOUND,
  KEY_URI_SYNTAX: KEY_NOT_FOUND,
  KMS_ALIAS_NOT_FOUND: ALIAS_NOT_FOUND,
  KMS_ACCESS_DENIED: NO_PERMISSION,
  KMS_SERVICE_KEY: NO_PERMISSION,
  KMS_INVALID_CIPHERTEXT: BAD_CIPHERTEXT,
  KMS_WRONG_CONTEXT: BAD_CIPHERTEXT,
  KMS_UNSUPPORTED_KEY: UNSUPPORTED,
  KMS_KEY_KIND: new AliyunError(400, 'Unsupported.Origin', 'This key origin is not valid for this api.'),
  KMS_ALIAS_TAKEN: new AliyunError(400, 'AliasAlreadyExists', 'AliasName Already Exists.'),
  KMS_ALIAS_SYNTAX: new AliyunError(
    400,
    'InvalidParameter',
    'The specified parameter "AliasName" is not valid.',
  ),
  KMS_PROTECTED: new AliyunError(
    409,
    'Rejected.DeletionProtected',
    'The request was rejected because deletion protection is enabled for the key.',
  ),
  KMS_IMPORT_TOKEN: new AliyunError(400, 'InvalidImportToken', 'import token is invalid.'),
  KMS_IMPORT_EXPIRED: new AliyunError(400, 'ExpiredImportToken', 'import token is expired.'),
  KMS_IMPORT_MATERIAL: new AliyunError(400, 'InvalidKeyMaterial', 'key material is invalid.'),
  USAGE: new AliyunError(400, 'InvalidParameter', 'The specified parameter is not valid.'),
  KMS_THROTTLED: new AliyunError(429, 'Rejected.Throttling', 'QPS Limit Exceeded.'),
  KMS_TIMEOUT: AWAY,
  KMS_CONNECTION: AWAY,
};
