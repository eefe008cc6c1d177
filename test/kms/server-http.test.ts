import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { request as tlsRequest } from 'node:https';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import t, { type Test } from 'tap';
import { HttpFace, type HttpOptions } from '#sealdisk/kms/server/http.js';
import type { FaceRequest } from '#sealdisk/kms/server/protocol.js';
import { startFace } from './face.js';
import { makeAuthority } from './faulty-server.js';
import { tempPool } from './pool.js';

const LISTEN = { host: '127.0.0.1', port: 0 };
const JSON_TYPE = { 'content-type': 'application/json' };

/** A face that answers with what `answer` says, and remembers what came. */
async function faceOf(t: Test, over: Partial<HttpOptions> = {}) {
  const came: FaceRequest[] = [];
  const face = await HttpFace.listen({
    address: LISTEN,
    answer: async (request) => {
      came.push({ ...request, body: Buffer.from(request.body) });
      return { status: 200, headers: JSON_TYPE, body: Buffer.from('{"ok":true}') };
    },
    ...over,
  });
  t.teardown(() => face.close(0));
  return { face, came };
}

async function socketTo(t: Test, face: HttpFace): Promise<Socket> {
  const socket = connect(face.port, '127.0.0.1');
  socket.on('error', () => {});
  t.teardown(async () => void socket.destroy());
  await once(socket, 'connect');
  return socket;
}

/** What comes back for `bytes`, until the other side ends. */
async function exchange(t: Test, face: HttpFace, bytes: string): Promise<{ status: number; json: object }> {
  const socket = await socketTo(t, face);
  socket.write(bytes);
  const reply = await text(socket);
  const at = reply.indexOf('\r\n\r\n');
  t.match(reply.slice(0, at).toLowerCase(), /content-type: application\/json/);
  return { status: Number(reply.slice(9, 12)), json: JSON.parse(reply.slice(at + 4)) };
}

t.test('gives the whole request on, and the whole reply back', async (t) => {
  const { face, came } = await faceOf(t);
  const sent = request(`${face.origin}/a%20b?x=%20&y`, { method: 'POST', headers: { 'x-a': 'b' } });
  sent.write('one ');
  sent.end('two');
  const [response] = await once(sent, 'response');
  t.equal(await text(response), '{"ok":true}');
  const [first] = came;
  t.match(first, { method: 'POST', path: '/a%20b', query: 'x=%20&y' });
  t.equal(first?.headers['x-a'], 'b');
  t.equal(first?.body.toString(), 'one two');
});

t.test('overwrites a body and a reply when the reply has been sent', async (t) => {
  let body: Buffer | undefined;
  const reply = Buffer.from('{"Plaintext":"secret"}');
  const answer: HttpOptions['answer'] = async (asked) => {
    body = asked.body;
    t.equal(body.toString(), 'secret');
    return { status: 200, headers: JSON_TYPE, body: reply };
  };
  const { face } = await faceOf(t, { answer });
  const sent = request(face.origin, { method: 'POST', agent: false }).end('secret');
  const [response] = await once(sent, 'response');
  t.equal(await text(response), '{"Plaintext":"secret"}');
  await face.close(1000);
  for (const each of [body, reply])
    t.equal(
      each?.every((byte) => byte === 0),
      true,
    );
});

t.test('every request that is none gets JSON that the SDKs can read', async (t) => {
  const { face, came } = await faceOf(t, { headersTimeoutMs: 400, requestTimeoutMs: 600 });
  const long = `POST / HTTP/1.1\r\nhost: a\r\nx: ${'a'.repeat(20_000)}\r\n\r\n`;
  const cases: [string, string, number][] = [
    ['no HTTP', 'HELLO\r\n\r\n', 400],
    ['TLS', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n', 400],
    ['headers too long', long, 431],
    ['a body too long', 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 999999\r\n\r\n', 413],
    [
      'a body too long to be announced so',
      'POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 999999\r\n\r\n',
      413,
    ],
    ['two lengths', 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\na', 400],
    [
      'a length and chunks',
      'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n',
      400,
    ],
    ['a chunk that is none', 'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n', 400],
    ['no host', 'POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n', 400],
    ['an expectation', 'POST / HTTP/1.1\r\nhost: a\r\nexpect: miracles\r\ncontent-length: 0\r\n\r\n', 417],
    ['CONNECT', 'CONNECT a:443 HTTP/1.1\r\nhost: a\r\n\r\n', 405],
    ['headers that stop', 'POST / HTTP/1.1\r\nhost: a\r\n', 408],
    ['a body that stops', 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{"a', 408],
  ];
  await Promise.all(
    cases.map(async ([title, bytes, status]) => {
      const reply = await exchange(t, face, bytes);
      t.equal(reply.status, status, title);
      t.hasProps(reply.json, ['__type', 'message', 'Code', 'Message', 'RequestId'], title);
    }),
  );
  t.equal(came.length, 0);
});

t.test('cuts a body without an end, whatever is still coming', async (t) => {
  const { face, came } = await faceOf(t);
  const socket = await socketTo(t, face);
  socket.write('POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n');
  const chunk = `4000\r\n${'a'.repeat(0x4000)}\r\n`;
  const timer = setInterval(() => socket.write(chunk), 1);
  t.teardown(async () => clearInterval(timer));
  t.match(await text(socket), /^HTTP\/1.1 413 /);
  t.equal(came.length, 0);
});

t.test('ends in good order: what was begun is answered, nothing else is taken in', async (t) => {
  let goOn = (): void => {};
  const waiting = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  let begun = (): void => {};
  const begin = new Promise<void>((resolve) => {
    begun = resolve;
  });
  const answer: HttpOptions['answer'] = async () => {
    begun();
    await waiting;
    return { status: 200, headers: JSON_TYPE, body: Buffer.from('{}') };
  };
  const { face } = await faceOf(t, { answer });
  const idle = await socketTo(t, face);
  const { port } = face;
  const sent = request(face.origin, { method: 'POST' }).end('{}');
  await begin;
  const ended = once(idle, 'close');
  const closed = face.close(10_000);
  await ended;
  await t.rejects(socketAt(port), { code: 'ECONNREFUSED' });
  goOn();
  const [response] = await once(sent, 'response');
  t.equal(response.statusCode, 200);
  t.equal(response.headers.connection, 'close');
  await closed;
});

async function socketAt(port: number): Promise<void> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  socket.destroy();
}

t.test('does not wait for ever for a client that reads nothing', async (t) => {
  let begun = (): void => {};
  const begin = new Promise<void>((resolve) => {
    begun = resolve;
  });
  const answer: HttpOptions['answer'] = () => {
    begun();
    return new Promise(() => {});
  };
  const { face } = await faceOf(t, { answer });
  const socket = await socketTo(t, face);
  socket.write('POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n');
  await begin;
  const ended = new Promise((resolve) => socket.once('close', resolve));
  await face.close(50);
  await ended;
});

t.test('serves plain HTTP to this machine only, and says what is wrong with a certificate', async (t) => {
  const pool = await tempPool(t);
  const { good, caFile } = makeAuthority(pool);
  const at = (name: string, content: Buffer | string): string => {
    const path = join(pool, name);
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  };
  for (const host of ['0.0.0.0', '::', '192.0.2.1', 'kms.test']) {
    await t.rejects(startFace(t, { listen: { host, port: 0 } }), { code: 'USAGE' }, host);
  }
  const certPath = at('c.pem', good.cert);
  const keyPath = at('k.pem', good.key);
  const bad = at('bad.pem', 'bad');
  await t.rejects(startFace(t, { tls: { certPath: bad, keyPath } }), { code: 'TLS_CERTIFICATE' });
  await t.rejects(startFace(t, { tls: { certPath, keyPath: bad } }), { code: 'TLS_PRIVATE_KEY' });
  await t.rejects(startFace(t, { tls: { certPath: caFile, keyPath } }), { code: 'TLS_PRIVATE_KEY' });
  await t.rejects(startFace(t, { tls: { certPath, keyPath, clientCaPath: bad } }), { code: 'TLS_CLIENT_CA' });
  await t.rejects(startFace(t, { tls: { certPath, keyPath: join(pool, 'none') } }), { code: 'DISK_IO' });
  const other = await startFace(t);
  const port = Number(new URL(other.serving.origin).port);
  await t.rejects(startFace(t, { listen: { host: '127.0.0.1', port } }), { code: 'KMS_LISTEN' });
});

t.test('asks clients for their certificates, and takes a new one of its own on reload', async (t) => {
  const pool = await tempPool(t);
  const { caFile, good } = makeAuthority(pool);
  const [certPath, keyPath] = [join(pool, 'c.pem'), join(pool, 'k.pem')];
  writeFileSync(certPath, good.cert);
  writeFileSync(keyPath, good.key);
  const { serving } = await startFace(t, { tls: { certPath, keyPath, clientCaPath: caFile } });
  const ca = execFileSync('cat', [caFile]);
  const asked = async (client: object): Promise<{ status: number; serial: string }> => {
    const sent = tlsRequest(serving.origin, { ca, agent: false, ...client }).end();
    const [response] = await once(sent, 'response');
    response.resume();
    return { status: response.statusCode, serial: response.socket.getPeerCertificate().serialNumber };
  };
  await t.rejects(asked({}));
  const before = await asked(good);
  t.equal(before.status, 400, 'it is let in, and told that this is no request of ours');
  const again = makeAuthority(await tempPool(t));
  writeFileSync(certPath, again.good.cert);
  await serving.reload();
  t.equal((await asked(good)).serial, before.serial, 'a certificate without its key changes nothing');
  writeFileSync(keyPath, again.good.key);
  await serving.reload();
  const after = await asked({ ...good, ca: execFileSync('cat', [again.caFile]) });
  t.not(after.serial, before.serial);
});

t.test('tells its keeper on an address of its own that it is well, and what it did', async (t) => {
  const face = await startFace(t, { health: LISTEN });
  const origin = `http://127.0.0.1:${face.serving.healthPort}`;
  const get = async (path: string): Promise<[number, string]> => {
    const reply = await fetch(origin + path);
    return [reply.status, await reply.text()];
  };
  t.same(await get('/healthz'), [200, '{"status":"ok"}']);
  t.same(await get('/readyz'), [200, '{"status":"ready"}']);
  await fetch(face.serving.origin, { method: 'POST', headers: { 'x-amz-target': 'TrentService.Decrypt' } });
  await fetch(face.serving.origin, {
    method: 'POST',
    headers: { 'x-amz-target': `TrentService.${'x'.repeat(99)}` },
  });
  const [, metrics] = await get('/metrics');
  t.match(metrics, /sealdisk_kms_requests_total\{protocol="aws",operation="Decrypt",status="400"\} 1/);
  t.match(metrics, /operation="unknown",status="400"\} 1/);
  t.match(metrics, /process_cpu_seconds_total/);
  t.equal((await get('/'))[0], 404);
  t.equal((await fetch(`${face.serving.origin}/metrics`)).status, 400, 'clients do not see it');
  execFileSync('chmod', ['755', face.dir]);
  t.equal((await get('/readyz'))[0], 503);
});
