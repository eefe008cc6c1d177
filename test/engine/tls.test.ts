// src/engine/tls.ts: TLS of the engine with Node's own as client, from the handshake to a disk that is served inside it.

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { read, readFileSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { engine, type TlsOptions, type TlsSession } from '#sealdisk/engine/engine.js';
import { makeCertificates } from '../nbd/certificates.js';
import { CMD, RawClient } from './raw-client.js';
import { diskFile } from './rig.js';

const made = makeCertificates(t.testdir());
const PSK = Buffer.alloc(32, 0x5a);

/** Buffers of its own each time: those of keys are overwritten. */
const options = (over: Partial<TlsOptions> = {}): TlsOptions => ({
  certificate: made.certificate,
  privateKey: Buffer.from(made.privateKey),
  verifyClient: false,
  minimum: '1.2',
  ...over,
});

const pskOptions = (): TlsOptions => ({
  psk: Buffer.from(`alice:${PSK.toString('hex')}\n`),
  verifyClient: false,
  minimum: '1.2',
});

const pskClient: ConnectionOptions = {
  pskCallback: () => ({ psk: PSK, identity: 'alice' }),
  ciphers: 'TLS_AES_128_GCM_SHA256:ECDHE-PSK-CHACHA20-POLY1305',
  checkServerIdentity: () => undefined,
};

/** Both ends of a socket pair: Node's client, and the session that serves it on the descriptor. */
function pair(
  t: Test,
  session: TlsSession,
  over: ConnectionOptions = {},
): { client: TLSSocket; fd: number; error: Promise<Error> } {
  const [fd, theirs] = engine().socketPair();
  const client = connect({
    socket: new Socket({ fd: theirs }),
    ca: made.ca,
    servername: 'localhost',
    ...over,
  });
  const error = new Promise<Error>((resolve) => client.on('error', resolve));
  t.teardown(() => {
    session.close();
    client.destroy();
    engine().closeFd(fd);
  });
  return { client, fd, error };
}

/** The handshake on a blocking descriptor; what the client said behind it. */
async function establish(session: TlsSession, fd: number): Promise<Buffer> {
  const chunk = Buffer.alloc(65536);
  for (;;) {
    const { bytesRead } = await promisify(read)(fd, chunk, 0, chunk.length, null);
    if (bytesRead === 0) throw new Error('the client went away');
    const { output, established, plaintext } = session.feed(chunk.subarray(0, bytesRead));
    if (output.length > 0) writeSync(fd, output);
    if (established) return plaintext;
  }
}

for (const [how, version, context, over] of [
  ['a certificate', 'TLSv1.3', options, {}],
  ['a certificate', 'TLSv1.2', options, {}],
  ['a pre-shared key', 'TLSv1.3', pskOptions, pskClient],
  ['a pre-shared key', 'TLSv1.2', pskOptions, pskClient],
] as [string, 'TLSv1.2' | 'TLSv1.3', () => TlsOptions, ConnectionOptions][]) {
  t.test(`a disk is served inside ${version} with ${how}, to Node's client`, async (t) => {
    const disk = engine().openDisk(diskFile(t.testdir()));
    const key = engine().takeDataKey(randomBytes(64));
    disk.goLive(key);
    const session = engine().tlsContext(context()).accept();
    const { client, fd } = pair(t, session, { ...over, minVersion: version, maxVersion: version });
    const rest = await establish(session, fd);
    t.equal(session.clientName, how === 'a certificate' ? undefined : 'alice');
    const connection = disk.serve({ fd, rest, readOnly: false, tls: session });
    const raw = new RawClient(client);
    const data = randomBytes(1_000_001);
    t.equal(await raw.write(12_345, data), 0);
    t.ok((await raw.read(12_345, data.length)).equals(data));
    t.equal(client.getProtocol(), version);
    raw.send(CMD.disconnect);
    t.match(await connection.ended, { reason: 'disconnect' });
    await disk.close();
    key.wipe();
  });
}

t.test(
  'a session that the engine took over refuses every call, and one without its handshake is not taken',
  async (t) => {
    const disk = engine().openDisk(diskFile(t.testdir()));
    const session = engine().tlsContext(options()).accept();
    const { fd } = pair(t, session);
    const serve = () => disk.serve({ fd, readOnly: false, tls: session });
    t.throws(serve, { code: 'INVALID' });
    t.throws(() => session.write(Buffer.alloc(1)), { code: 'INVALID' });
    await establish(session, fd);
    t.throws(() => disk.serve({ fd, readOnly: false, tls: {} as TlsSession }), { code: 'INTERNAL' });
    const connection = serve();
    for (const call of [serve, () => session.feed(Buffer.alloc(1)), () => session.write(Buffer.alloc(1))])
      t.throws(call, { code: 'INVALID' });
    t.equal(session.clientName, undefined);
    t.equal(session.end().length, 0);
    session.close();
    session.close();
    connection.close();
    t.match(await connection.ended, { reason: 'closed' });
    await disk.close();
  },
);

t.test('a client certificate gives its name, and a client without one is told what is missing', async (t) => {
  const context = engine().tlsContext(options({ clientCa: made.ca, verifyClient: true }));
  const alice = made.clientDir('alice');
  const good = context.accept();
  const cert = readFileSync(join(alice, 'client-cert.pem'));
  const { fd } = pair(t, good, { cert, key: readFileSync(join(alice, 'client-key.pem')) });
  t.equal(good.clientName, undefined);
  await establish(good, fd);
  t.equal(good.clientName, 'alice');

  const bad = context.accept();
  const without = pair(t, bad);
  await t.rejects(establish(bad, without.fd), {
    code: 'TLS_PEER',
    message: /^TLS client: peer did not return a certificate$/,
  });
  writeSync(without.fd, bad.end());
  t.match(await without.error, { code: 'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED' });
});

t.test('the last words of a session in good order are its close_notify', async (t) => {
  const session = engine().tlsContext(options()).accept();
  const { client, fd } = pair(t, session);
  await establish(session, fd);
  writeSync(fd, Buffer.concat([session.write(Buffer.from('hello')), session.end()]));
  client.setEncoding('utf8');
  t.same(await once(client, 'data'), ['hello']);
  await once(client, 'end');
});

t.test('what cannot be used is refused by its code, and keys are overwritten all the same', (t) => {
  const refusal = (code: string, over: Partial<TlsOptions>, message: RegExp) => {
    const given = options(over);
    t.throws(() => engine().tlsContext(given), { code, message });
    for (const secret of [given.privateKey, given.psk]) t.ok(secret?.every((byte) => byte === 0) ?? true);
  };
  refusal('TLS_CERTIFICATE', { certificate: Buffer.from('no') }, /found no certificate, expected a PEM/);
  refusal('TLS_PRIVATE_KEY', { privateKey: Buffer.from('no') }, /expected a PEM private key/);
  refusal('TLS_CLIENT_CA', { verifyClient: true }, /found none/);
  refusal(
    'TLS_PSK',
    { psk: Buffer.from('alice:00ff\n') },
    /found a key of 2 bytes in line 1, expected 16 to 256/,
  );
  refusal('INVALID', { minimum: '1.1' as '1.2' }, /minimum/);
  refusal('INVALID', { certificate: 'PEM' as unknown as Buffer }, /certificate is not a Uint8Array/);
  const good = options({ psk: Buffer.from(`alice:${PSK.toString('hex')}\n`) });
  engine().tlsContext(good).close();
  for (const secret of [good.privateKey, good.psk]) t.ok(secret?.every((byte) => byte === 0));
  t.end();
});

t.test('a closed context accepts nobody, and its sessions live on', async (t) => {
  const context = engine().tlsContext(options());
  const session = context.accept();
  context.close();
  context.close();
  t.throws(() => context.accept(), { code: 'INVALID' });
  const { fd } = pair(t, session);
  await establish(session, fd);
  t.ok(session.write(Buffer.from('still here')).length > 0);
});
