/**
 * The Alibaba Cloud KMS protocol, version 2016-01-20: `GET` or `POST /`, the operation in the header `x-acs-action` (ACS3) or in
 * the parameter `Action` (RPC v1), JSON in reply. Source: Alibaba Cloud KMS API reference; the clients' behaviour as measured with
 * the SDKs openapi-client (ACS3), kms20160120 and pop-core (RPC v1).
 */

import type { AccessKey, AccessKeys } from '../../local/access-keys.js';
import { PLAINTEXT_MAX_BYTES } from '../../local/envelope.js';
import { freeSecret } from '../../local/secret.js';
import type { SecretBytes } from '../../provider.js';
import { jsonWithSecret } from '../../secret-json.js';
import type { Caller } from '../caller.js';
import type { FaceRequest, Protocol, Reply } from '../protocol.js';
import { Authenticator, isAcs3 } from './authenticate.js';
import type { AliyunOperation, AliyunOutput } from './call.js';
import { errorReply, invalid, jsonReply, refuse } from './errors.js';
import { Input } from './input.js';
import { aliasOperations } from './operations/aliases.js';
import { dataOperations } from './operations/data.js';
import { importOperations } from './operations/import.js';
import { keyOperations } from './operations/keys.js';
import { tagOperations } from './operations/tags.js';
import { versionOperations } from './operations/versions.js';
import { type Parameters, parametersOf } from './parameters.js';
import { takePlaintext } from './plaintext.js';

const VERSION = '2016-01-20';
const REGION = 'cn-hangzhou';
/** It becomes a part of ARNs. */
const REGION_NAME = /^[a-z0-9-]{1,64}$/;
const METHODS = ['GET', 'POST'];
const OURS = /(^|&)(Action|SignatureVersion|AccessKeyId)=/;

const OPERATIONS: ReadonlyMap<string, AliyunOperation> = new Map(
  Object.entries({
    ...keyOperations,
    ...aliasOperations,
    ...dataOperations,
    ...versionOperations,
    ...importOperations,
    ...tagOperations,
  }),
);

export const aliyunOperations = (): string[] => [...OPERATIONS.keys()];

export class AliyunProtocol implements Protocol {
  readonly name = 'aliyun';
  readonly #authenticator = new Authenticator();

  /** `region`: the one that ARNs name; undefined for the one that a request names. */
  constructor(private readonly region: string | undefined) {}

  recognises({ headers, query, body }: FaceRequest): boolean {
    if ((headers.authorization ?? '').startsWith('ACS') || headers['x-acs-action'] !== undefined) return true;
    if (OURS.test(query)) return true;
    const isForm = (headers['content-type'] ?? '').startsWith('application/x-www-form-urlencoded');
    return isForm && OURS.test(body.toString('latin1'));
  }

  operationOf(request: FaceRequest): string {
    const name = actionOf(request);
    return OPERATIONS.has(name) ? name : 'unknown';
  }

  authenticate(request: FaceRequest, keys: AccessKeys, nowMs: number): Promise<AccessKey> {
    return this.#authenticator.authenticate(request, keys, nowMs);
  }

  async handle(request: FaceRequest, caller: Caller): Promise<Reply> {
    if (!METHODS.includes(request.method)) {
      refuse(403, 'UnsupportedHTTPMethod', 'This http method is not supported.');
    }
    const operation = this.operationOf(request);
    const run = request.path === '/' ? OPERATIONS.get(operation) : undefined;
    if (run === undefined) {
      return refuse(404, 'InvalidAction.NotFound', 'Specified api is not found, check its name.');
    }
    // The plaintext is out of the body before anything else looks at it.
    const plaintext = operation === 'Encrypt' ? takePlaintext(request, PLAINTEXT_MAX_BYTES) : undefined;
    try {
      const parameters = parametersOf(request);
      checkVersion(request, parameters);
      const { kms, options } = caller;
      const input = new Input(parameters);
      const region = this.region ?? regionOf(parameters);
      const output = await run({ operation, input, plaintext, region, caller, kms, options });
      return jsonReply(200, bodyOf(output, request.requestId), request.requestId);
    } finally {
      freeSecret(plaintext);
    }
  }

  failure(error: unknown, request: FaceRequest): Reply {
    const host = request.headers.host ?? '';
    return errorReply(error, this.operationOf(request), request.requestId, host);
  }
}

/** A header says it only where headers are signed. */
function actionOf(request: FaceRequest): string {
  if (isAcs3(request)) return request.headers['x-acs-action'] ?? '';
  try {
    return parametersOf(request).get('Action') ?? '';
  } catch {
    return '';
  }
}

function checkVersion(request: FaceRequest, parameters: Parameters): void {
  const version = isAcs3(request) ? request.headers['x-acs-version'] : parameters.get('Version');
  if (version !== VERSION) refuse(404, 'InvalidVersion', `Specified parameter Version is not ${VERSION}.`);
  if ((parameters.get('Format') ?? 'JSON').toUpperCase() !== 'JSON') invalid('Format');
}

function regionOf(parameters: Parameters): string {
  const region = parameters.get('RegionId') ?? '';
  return REGION_NAME.test(region) ? region : REGION;
}

function bodyOf({ fields, plaintext }: AliyunOutput, RequestId: string): Buffer {
  const said = { ...fields, RequestId };
  return plaintext === undefined ? Buffer.from(JSON.stringify(said)) : takeInto(said, plaintext);
}

function takeInto(fields: Readonly<Record<string, unknown>>, plaintext: SecretBytes): Buffer {
  try {
    return jsonWithSecret(fields, 'Plaintext', plaintext);
  } finally {
    freeSecret(plaintext);
  }
}
