/** The network face as a process: its one line, its rights, its certificates, and its end. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { DescribeKeyCommand, GenerateDataKeyCommand, KMSClient } from '@aws-sdk/client-kms';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import t, { type Test } from 'tap';
import { makeAuthority } from '../kms/faulty-server.js';
import { MAIN, type Rig, rig, until } from './rig.js';

t.setTimeout(110_000);

async function serve(t: Test, { env }: Rig, ...words: string[]) {
  const child = spawn(process.execPath, [MAIN, 'kms', 'serve', ...words], { env });
  t.teardown(async () => void child.kill('SIGKILL'));
  const lines: string[] = [];
  let log = '';
  createInterface(child.stdout).on('line', (line) => lines.push(line));
  child.stderr.on('data', (part) => {
    log += part;
  });
  await until('it is ready', () => lines.length > 0 || child.exitCode !== null);
  const endpoint = /https?:\/\/[0-9.]+:\d+/.exec(lines[0] ?? '')?.[0] ?? '';
  return { child, lines, log: () => log, endpoint, port: Number(new URL(endpoint).port) };
}

t.test('an access key that the command line makes works until it is deleted', async (t) => {
  const house = rig(t);
  const { sealdisk, json } = house;
  await json('key', 'create', '--alias', 'web');
  const words = ['--name', 'web', '--allow', 'GenerateDataKey:alias/web', '--allow', 'kms:Decrypt'];
  const made = await json('kms', 'access-key', 'create', ...words);
  const { accessKeyId, accessKeySecret: secretAccessKey } = made;
  const served = await serve(t, house, '--listen', '127.0.0.1:0', '--region', 'eu-central-1');
  t.same(served.lines, [`listening on ${served.endpoint}`]);
  const credentials = { accessKeyId, secretAccessKey };
  const client = new KMSClient({ endpoint: served.endpoint, region: 'eu-central-1', credentials });
  t.teardown(async () => client.destroy());
  const ask = () => client.send(new GenerateDataKeyCommand({ KeyId: 'alias/web', NumberOfBytes: 64 }));
  t.equal((await ask()).Plaintext?.length, 64);
  await t.rejects(client.send(new DescribeKeyCommand({ KeyId: 'alias/web' })), {
    name: 'AccessDeniedException',
  });

  const { out } = await sealdisk('kms', 'access-key', 'list', '--json');
  t.match(JSON.parse(out), [{ accessKeyId, name: 'web', allow: ['GenerateDataKey:alias/web', 'Decrypt'] }]);
  t.notMatch(out, secretAccessKey);
  t.equal((await sealdisk('kms', 'access-key', 'delete', accessKeyId)).code, 0);
  await t.rejects(ask(), { name: 'UnrecognizedClientException' });
  t.equal((await sealdisk('kms', 'access-key', 'delete', accessKeyId)).code, 3);
  t.notMatch(served.log(), secretAccessKey);

  const ends = await json('kms', 'access-key', 'create', '--expires', '1h');
  t.ok(Date.parse(ends.expiresAt) > Date.now() && ends.securityToken);
  t.equal((await sealdisk('kms', 'access-key', 'create', '--expires', '2001-01-01')).code, 2);
  t.equal((await sealdisk('kms', 'access-key', 'create', '--allow', 'x y')).code, 2);
});

t.test('SIGTERM answers what was begun, and ends', async (t) => {
  const house = rig(t);
  const { child, log, port } = await serve(t, house, '--listen', '127.0.0.1:0');
  const socket = connect(port, '127.0.0.1');
  socket.write(
    'POST / HTTP/1.1\r\nhost: a\r\nx-amz-target: TrentService.ListKeys\r\ncontent-length: 2\r\n\r\n{',
  );
  const idle = connect(port, '127.0.0.1').resume();
  await once(idle, 'connect');
  const idleEnds = new Promise((resolve) => idle.once('close', resolve));
  // The server has met our request when it has answered one that came later.
  await fetch(`http://127.0.0.1:${port}/`).then((reply) => reply.text());
  child.kill('SIGTERM');
  await until('it stops', () => log().includes('"stopping"'));
  await idleEnds;
  socket.write('}');
  t.match(await text(socket), /^HTTP\/1.1 400 [\s\S]*connection: close[\s\S]*MissingAuthenticationToken/i);
  const [code] = child.exitCode === null ? await once(child, 'exit') : [child.exitCode];
  t.equal(code, 0);
});

t.test('serves a network with certificates only, of both sides where it is told so', async (t) => {
  const house = rig(t);
  const { sealdisk, json, at, dir } = house;
  const { caFile, good } = makeAuthority(dir);
  writeFileSync(at('c.pem'), good.cert);
  writeFileSync(at('k.pem'), good.key);
  const files = ['--tls-cert', at('c.pem'), '--tls-key', at('k.pem')];
  for (const [words, code] of [
    [['--listen', '0.0.0.0:0'], 2],
    [['--listen', '7700'], 2],
    [['--listen', '127.0.0.1:0', '--tls-cert', at('c.pem')], 2],
    [['--listen', '127.0.0.1:0', '--client-ca', caFile], 2],
    [['--listen', '127.0.0.1:0', '--tls-cert', caFile, '--tls-key', at('k.pem')], 4],
  ] as const) {
    t.equal((await sealdisk('kms', 'serve', ...words)).code, code, words.join(' '));
  }
  await json('key', 'create', '--alias', 'web');
  const made = await json('kms', 'access-key', 'create');
  const { endpoint, lines } = await serve(
    t,
    house,
    '--listen',
    '127.0.0.1:0',
    ...files,
    '--client-ca',
    caFile,
    '--json',
  );
  t.match(JSON.parse(lines[0] ?? ''), { endpoint });
  const ca = readFileSync(caFile);
  const ask = async (tls: object) => {
    const client = new KMSClient({
      endpoint,
      region: 'eu-central-1',
      credentials: { accessKeyId: made.accessKeyId, secretAccessKey: made.accessKeySecret },
      requestHandler: new NodeHttpHandler({ httpsAgent: tls }),
      maxAttempts: 1,
    });
    try {
      return (await client.send(new DescribeKeyCommand({ KeyId: 'alias/web' }))).KeyMetadata?.KeyState;
    } finally {
      client.destroy();
    }
  };
  t.equal(await ask({ ca, cert: good.cert, key: good.key }), 'Enabled');
  await t.rejects(ask({ ca }), 'a client without a certificate');
  await t.rejects(ask({ cert: good.cert, key: good.key }), 'a client that does not know our CA');
});
