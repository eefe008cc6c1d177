/**
 * The AWS KMS protocol, JSON 1.1 with SigV4: `POST /` with the operation in `x-amz-target: TrentService.NAME`.
 * Source: AWS KMS API Reference; the clients' behaviour as measured with @aws-sdk/client-kms, boto3 and awscli.
 */

import type { AccessKey, AccessKeys } from '../../local/access-keys.js';
import { freeSecret } from '../../local/secret.js';
import type { SecretBytes } from '../../provider.js';
import { jsonWithSecret } from '../../secret-json.js';
import type { Caller } from '../caller.js';
import type { FaceRequest, Protocol, Reply } from '../protocol.js';
import { Authenticator } from './authenticate.js';
import type { AwsOperation, AwsOutput } from './call.js';
import { errorReply, headersOf, invalid, refuse } from './errors.js';
import { Input, takePlaintext } from './input.js';
import { Names } from './names.js';
import { aliasOperations } from './operations/aliases.js';
import { dataOperations, PLAINTEXT_MAX_BYTES } from './operations/data.js';
import { importOperations } from './operations/import.js';
import { keyOperations } from './operations/keys.js';
import { rotationOperations } from './operations/rotation.js';
import { tagOperations } from './operations/tags.js';

const SERVICE = 'TrentService.';

const OPERATIONS: ReadonlyMap<string, AwsOperation> = new Map(
  Object.entries({
    ...keyOperations,
    ...aliasOperations,
    ...dataOperations,
    ...rotationOperations,
    ...importOperations,
    ...tagOperations,
  }),
);

export const awsOperations = (): string[] => [...OPERATIONS.keys()];

export class AwsProtocol implements Protocol {
  readonly name = 'aws';
  readonly #authenticator: Authenticator;

  /** `region`: the only one there is; undefined where every one will do. */
  constructor(private readonly region: string | undefined) {
    this.#authenticator = new Authenticator(region);
  }

  recognises({ headers }: FaceRequest): boolean {
    return headers['x-amz-target'] !== undefined || (headers.authorization ?? '').startsWith('AWS4-');
  }

  operationOf({ headers }: FaceRequest): string {
    const target = headers['x-amz-target'] ?? '';
    const name = target.startsWith(SERVICE) ? target.slice(SERVICE.length) : '';
    return OPERATIONS.has(name) ? name : 'unknown';
  }

  authenticate(request: FaceRequest, keys: AccessKeys, nowMs: number): Promise<AccessKey> {
    return this.#authenticator.authenticate(request, keys, nowMs);
  }

  async handle(request: FaceRequest, caller: Caller): Promise<Reply> {
    if (request.method !== 'POST' || request.path !== '/')
      refuse('UnknownOperationException', 'It is POST /');
    const operation = this.operationOf(request);
    const run =
      OPERATIONS.get(operation) ?? refuse('UnknownOperationException', 'There is no such operation');
    // The plaintext is out of the body before anything else looks at it.
    const plaintext =
      operation === 'Encrypt' ? takePlaintext(request.body, 'Plaintext', PLAINTEXT_MAX_BYTES) : undefined;
    try {
      const input = new Input(request.body);
      if (plaintext && input.text('Plaintext').trim() !== '') invalid("'plaintext' stands twice");
      const names = new Names(this.region ?? regionOf(request), this.region !== undefined);
      const { kms, options } = caller;
      const output = await run({ operation, input, plaintext, names, caller, kms, options });
      return reply(output, request.requestId);
    } finally {
      freeSecret(plaintext);
    }
  }

  failure(error: unknown, { requestId }: FaceRequest): Reply {
    return errorReply(error, requestId);
  }
}

const regionOf = ({ headers }: FaceRequest): string =>
  /Credential=[^/]*\/\d*\/([a-z0-9-]+)\//.exec(headers.authorization ?? '')?.[1] ?? 'us-east-1';

function reply(output: AwsOutput, requestId: string): Reply {
  return { status: 200, headers: headersOf(requestId), body: bodyOf(output) };
}

function bodyOf(output: AwsOutput): Buffer {
  if (output === undefined) return Buffer.alloc(0);
  const { fields, plaintext } = output;
  if (plaintext === undefined) return Buffer.from(JSON.stringify(fields));
  return takeInto(fields, plaintext);
}

function takeInto(fields: Readonly<Record<string, unknown>>, plaintext: SecretBytes): Buffer {
  try {
    return jsonWithSecret(fields, 'Plaintext', plaintext);
  } finally {
    freeSecret(plaintext);
  }
}
