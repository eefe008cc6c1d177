import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import type { ClientRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { inspect } from 'node:util';
import t from 'tap';
import { HttpClient } from '#sealdisk/kms/http.js';
import { Deadline } from '#sealdisk/kms/local/deadline.js';
import { transportFailure } from '#sealdisk/kms/transport.js';
import { FaultyServer, reply } from './faulty-server.js';

const deadline = () => new Deadline(10_000, 'x:y');
const post = () => ({ method: 'POST', path: '/a', headers: {}, body: Buffer.from('secret') }) as const;

t.test('overwrites what it sent, however that ended', async (t) => {
  const server = await FaultyServer.start(t);
  const http = new HttpClient(server.origin, 'x:y');
  t.teardown(() => http.close());
  for (const manner of [
    reply({ status: 200, body: '{}' }),
    (request: { socket: { destroy(): void } }) => void request.socket.destroy(),
  ]) {
    server.manner = manner;
    const request = post();
    await http.send(request, deadline()).catch(() => {});
    t.ok(request.body.equals(Buffer.alloc(6)));
  }
});

t.test('overwrites what the socket gave it', async (t) => {
  const parts: Buffer[] = [];
  const listen = (message: unknown): void => {
    const { request } = message as { request: ClientRequest };
    request.socket?.on('data', (part) => parts.push(part));
  };
  subscribe('http.client.request.start', listen);
  t.teardown(() => unsubscribe('http.client.request.start', listen));
  const server = await FaultyServer.start(t);
  server.manner = reply({ status: 200, body: '{"a":"secret"}' });
  const http = new HttpClient(server.origin, 'x:y');
  t.teardown(() => http.close());
  t.equal((await http.send(post(), deadline())).body.toString(), '{"a":"secret"}');
  t.ok(parts.length > 0);
  for (const part of parts) t.ok(part.equals(Buffer.alloc(part.length)));
});

t.test('keeps a connection, and asks once more when it was closed under the next question', async (t) => {
  let connections = 0;
  const server = createServer((socket) => {
    connections += 1;
    let requests = 0;
    socket.on('error', () => {});
    socket.on('data', () => {
      requests += 1;
      // The first connection says that it is kept, and breaks at the third question.
      if (connections === 1 && requests === 3) return void socket.destroy();
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}');
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const http = new HttpClient(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, 'x:y');
  t.teardown(() => {
    http.close();
    server.close();
  });
  for (const expected of [1, 1, 2]) {
    t.equal((await http.send({ method: 'GET', path: '/', headers: {} }, deadline())).status, 200);
    t.equal(connections, expected);
  }
});

t.test('does not ask again on a new connection that breaks', async (t) => {
  const server = await FaultyServer.start(t);
  server.manner = (request) => void request.socket.destroy();
  const http = new HttpClient(server.origin, 'x:y');
  t.teardown(() => http.close());
  await t.rejects(http.send(post(), deadline()), { code: 'KMS_CONNECTION' });
  t.equal(server.requests, 1);
});

t.test(
  'tells a failure of the transport from any other, however it is wrapped, and shows none of its text',
  async (t) => {
    const coded = (code: string) => Object.assign(new Error('4711'), { code });
    const failures: [error: unknown, code: string | undefined][] = [
      [coded('ECONNREFUSED'), 'KMS_CONNECTION'],
      [coded('EAI_AGAIN'), 'KMS_CONNECTION'],
      [coded('CERT_HAS_EXPIRED'), 'KMS_CONNECTION'],
      [coded('ERR_SSL_WRONG_VERSION_NUMBER'), 'KMS_CONNECTION'],
      [coded('HPE_INVALID_CONSTANT'), 'KMS_BAD_REPLY'],
      [new Error('4711', { cause: coded('ECONNRESET') }), 'KMS_CONNECTION'],
      [new AggregateError([coded('ENETUNREACH'), coded('ECONNREFUSED')]), 'KMS_CONNECTION'],
      [new Error('4711', { cause: new AggregateError([coded('ETIMEDOUT')]) }), 'KMS_CONNECTION'],
      [coded('ENOENT'), undefined],
      [coded('ECONNREFUSED 4711'), undefined],
      [new Error('connect ECONNREFUSED'), undefined],
      ['ECONNREFUSED', undefined],
      [undefined, undefined],
    ];
    for (const [error, code] of failures) {
      const failure = transportFailure(error, 'x:y');
      t.equal(failure?.code, code, inspect(error));
      t.notMatch(`${failure?.message}`, /4711/);
    }
  },
);
