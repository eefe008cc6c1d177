/** What time or trouble brings about, which no client can ask for: each protocol has its own name for it. */

import t from 'tap';
import { SealdiskError } from '#sealdisk/errors.js';
import { AliyunProtocol } from '#sealdisk/kms/server/aliyun/protocol.js';
import { AwsProtocol } from '#sealdisk/kms/server/aws/protocol.js';
import type { FaceRequest } from '#sealdisk/kms/server/protocol.js';

const keyUri = 'local:alias/x';
const request = { requestId: 'r', method: 'POST', path: '/', query: '', headers: {}, body: Buffer.alloc(0) };
const named = (protocol: AwsProtocol | AliyunProtocol, error: unknown) => {
  const { status, body } = protocol.failure(error, request as FaceRequest);
  const { __type, Code } = JSON.parse(body.toString()) as { __type?: string; Code?: string };
  return `${status} ${__type ?? Code}`;
};

const ROWS: [string, unknown, string, string][] = [
  [
    'an import token whose day is over',
    new SealdiskError('KMS_IMPORT_EXPIRED', { keyUri, expired: '2026-01-01T00:00:00.000Z' }),
    '400 ExpiredImportTokenException',
    '400 ExpiredImportToken',
  ],
  [
    'a store that does not answer in time',
    new SealdiskError('KMS_TIMEOUT', { keyUri, timeoutMs: 1 }),
    '503 DependencyTimeoutException',
    '503 ServiceUnavailableTemporary',
  ],
  ['a fault of ours', new TypeError('x'), '500 KMSInternalException', '500 InternalFailure'],
];

for (const [title, error, aws, aliyun] of ROWS) {
  t.test(title, async (t) => {
    t.equal(named(new AwsProtocol(undefined), error), aws);
    t.equal(named(new AliyunProtocol(undefined), error), aliyun);
  });
}
