/**
 * Why `alikms:` signs and sends by itself: what `@alicloud/openapi-client` does with a failure, through its own public call.
 * When one of these tests fails, that client has learned it, and the provider may go through it.
 */

import { createRequire } from 'node:module';
import t, { type Test } from 'tap';
import { FaultyServer, html } from './faulty-server.js';
import { until } from './pool.js';

const require = createRequire(import.meta.url);
const TIMEOUT_MS = 30_000;
/** More than any socket holds by itself. */
const TAKEN_BYTES = 16 * 1024 * 1024;

/** DescribeKey by the client, its reply as the bytes that came, within TIMEOUT_MS. Its failure. */
async function failureOf(server: FaultyServer): Promise<Record<string, unknown>> {
  const { default: Client, Config, OpenApiRequest, Params } = require('@alicloud/openapi-client');
  const { RuntimeOptions } = require('@alicloud/tea-util');
  const endpoint = `127.0.0.1:${server.port}`;
  const client = new Client(
    new Config({ accessKeyId: 'a', accessKeySecret: 'b', endpoint, protocol: 'http' }),
  );
  const params = new Params({
    action: 'DescribeKey',
    version: '2016-01-20',
    protocol: 'HTTP',
    pathname: '/',
    method: 'POST',
    authType: 'AK',
    style: 'RPC',
    reqBodyType: 'formData',
    bodyType: 'binary',
  });
  const runtime = new RuntimeOptions({
    connectTimeout: TIMEOUT_MS,
    readTimeout: TIMEOUT_MS,
    autoretry: false,
  });
  return client.callApi(params, new OpenApiRequest({ body: { KeyId: 'alias/x' } }), runtime).then(
    () => ({}),
    (error: Record<string, unknown>) => error,
  );
}

/** A server that fails with 500 and words without an end, a part at a time, and counts what was taken from it. */
async function endlessFailure(t: Test): Promise<{ server: FaultyServer; taken: () => number }> {
  const server = await FaultyServer.start(t);
  const part = Buffer.alloc(1 << 20, 'a');
  let taken = 0;
  server.manner = (request, response) => {
    request.resume();
    response.writeHead(500, { 'content-type': 'application/json' });
    const timer = setInterval(() => {
      if (response.writableNeedDrain) return;
      response.write(part);
      taken += part.length;
    }, 1);
    response.on('close', () => clearInterval(timer));
  };
  return { server, taken: () => taken };
}

t.test('Alibaba’s client takes a failure of any size into memory', async (t) => {
  const { server, taken } = await endlessFailure(t);
  const failed = failureOf(server);
  await until('it has taken more than any failure is long', () => taken() > TAKEN_BYTES);
  await server.stop();
  t.match(await failed, { code: 'ECONNRESET' });
});

t.test('Alibaba’s client does not tell that it was throttled, when a gateway says so in HTML', async (t) => {
  const server = await FaultyServer.start(t);
  server.manner = html(429);
  const failure = await failureOf(server);
  t.match(failure, { name: 'SyntaxError' });
  t.notMatch(JSON.stringify(Object.entries(failure)), /429/);
});
