/** Alibaba Cloud's own clients, pointed at the network face: each makes a call, and gives what was answered or the failure. */

import { createRequire } from 'node:module';
import type { NewAccessKey } from '#sealdisk/kms/local/access-keys.js';

const require = createRequire(import.meta.url);

export type Answer = Record<string, unknown>;

/** What came back: members, or the code and status of a failure. */
export type Outcome =
  | { readonly ok: Answer }
  | { readonly code: string; readonly status: number | undefined };

export type Call = (action: string, parameters?: Answer) => Promise<Outcome>;

interface SdkError {
  readonly code?: string;
  /** The old client has the status only here. */
  readonly message: string;
  readonly data?: { readonly statusCode?: number; readonly Code?: string };
  readonly entry?: { readonly response?: { readonly statusCode?: number } };
}

async function outcome(work: Promise<unknown>): Promise<Outcome> {
  try {
    return { ok: (await work) as Answer };
  } catch (error) {
    const { code, message, data, entry } = error as SdkError;
    if (code === undefined) throw error;
    const told = Number(/\bcode: (\d+),/.exec(message)?.[1]);
    return { code: data?.Code ?? code, status: data?.statusCode ?? entry?.response?.statusCode ?? told };
  }
}

const credentialsOf = ({ info, accessKeySecret, securityToken }: NewAccessKey) => ({
  accessKeyId: info.accessKeyId,
  accessKeySecret,
  ...(securityToken !== null && { securityToken }),
});

export type Carrier = 'query' | 'form' | 'json';

/** The reference client, ACS3; `over.signatureAlgorithm: 'v2'` signs by RPC v1. */
export function openApi(key: NewAccessKey, origin: string, carrier: Carrier, over: Answer = {}): Call {
  const { default: Client, Config, OpenApiRequest } = require('@alicloud/openapi-client');
  const { RuntimeOptions } = require('@alicloud/tea-util');
  const endpoint = new URL(origin).host;
  const config = { ...credentialsOf(key), endpoint, protocol: 'http', regionId: 'cn-hangzhou', ...over };
  const client = new Client(new Config(config));
  return (action, parameters = {}) => {
    const params = {
      action,
      version: '2016-01-20',
      protocol: 'HTTP',
      pathname: '/',
      method: 'POST',
      authType: 'AK',
      style: 'RPC',
      reqBodyType: carrier === 'json' ? 'json' : 'formData',
      bodyType: 'json',
    };
    const request = carrier === 'query' ? { query: texts(parameters) } : { body: parameters };
    const call = client.callApi(params, new OpenApiRequest(request), new RuntimeOptions({}));
    return outcome(call.then(({ body }: { body: Answer }) => body));
  };
}

const texts = (parameters: Answer): Record<string, string> =>
  Object.fromEntries(Object.entries(parameters).map(([name, value]) => [name, String(value)]));

/** RPC v1, in a form or in the URL. */
export function popCore(key: NewAccessKey, origin: string, method: 'GET' | 'POST'): Call {
  const { RPCClient } = require('@alicloud/pop-core');
  const client = new RPCClient({ ...credentialsOf(key), endpoint: origin, apiVersion: '2016-01-20' });
  return (action, parameters = {}) => outcome(client.request(action, parameters, { method }));
}

/**
 * The old client of KMS alone, RPC v1; its methods have the operations' names. It knows neither all operations nor all
 * parameters: with those the reference client makes the call. What was answered is told as it came, before its models drop half.
 */
export function oldKms(key: NewAccessKey, origin: string): Call {
  const sdk = require('@alicloud/kms20160120');
  const { Config } = require('@alicloud/rpc-client');
  const { RuntimeOptions } = require('@alicloud/tea-util');
  const endpoint = new URL(origin).host;
  const type = key.securityToken === null ? 'access_key' : 'sts';
  const config = { ...credentialsOf(key), type, endpoint, protocol: 'http', regionId: 'cn-hangzhou' };
  const client = new sdk.default(new Config(config));
  let came: Answer = {};
  const doRequest = client.doRequest.bind(client);
  client.doRequest = async (...args: unknown[]) => {
    came = await doRequest(...args);
    return came;
  };
  const reference = openApi(key, origin, 'form');
  return async (action, parameters = {}) => {
    const Request = sdk[`${action}Request`];
    const known: string[] = Request === undefined ? [] : Object.values(Request.names());
    const lacks = Request === undefined || Object.keys(parameters).some((name) => !known.includes(name));
    if (lacks) return reference(action, parameters);
    const fields = Object.entries(parameters).map(([name, value]) => [lowered(name), asItTakes(name, value)]);
    const done = client[lowered(action)](new Request(Object.fromEntries(fields)), new RuntimeOptions({}));
    return outcome(done.then(() => came));
  };
}

/** An encryption context is an object to this client, and JSON to the others. */
const asItTakes = (name: string, value: unknown): unknown =>
  name === 'EncryptionContext' && typeof value === 'string' ? JSON.parse(value) : value;

const lowered = (name: string): string => `${name.slice(0, 1).toLowerCase()}${name.slice(1)}`;
