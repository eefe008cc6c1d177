/**
 * TLS against clients of GnuTLS that nobody here wrote: nbdinfo, nbdcopy, nbdsh and qemu-img, with certificates of
 * certtool and pre-shared keys of psktool. Each refusal is one line of the catalogue.
 */

import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { TlsOptions } from '#sealdisk/engine/engine.js';
import { run, until } from '../cli/rig.js';
import { tempDir } from '../nbd/rig.js';
import { GnutlsCa, pskFile, serveTls, type TlsServer } from './tls-rig.js';

t.setTimeout(280_000);

const dir = tempDir(t);
const at = (name: string) => join(dir, name);
const ca = new GnutlsCa(at('ca'));
const server = ca.folder('server', 'server', 'localhost');
const [ada, nobody] = [ca.folder('ada', 'client'), ca.folder('nobody')];
const stranger = new GnutlsCa(at('other')).folder('stranger', 'client', 'ada');
writeFileSync(join(stranger, 'ca-cert.pem'), ca.pem());
const keys = pskFile(at('keys.psk'), 'alice', 'bob');
const otherKeys = pskFile(at('other.psk'), 'alice', 'mallory');

const certificates = (over: Partial<TlsOptions> = {}): TlsOptions => ({
  certificate: readFileSync(join(server, 'server-cert.pem')),
  privateKey: readFileSync(join(server, 'server-key.pem')),
  verifyClient: false,
  minimum: '1.2',
  ...over,
});
const verifying = () => certificates({ clientCa: ca.pem(), verifyClient: true });
const preShared = (): TlsOptions => ({ psk: readFileSync(keys), verifyClient: false, minimum: '1.2' });

const uriOf = (path: string, folder: string) => `nbds+unix:///?socket=${path}&tls-certificates=${folder}`;
const pskUri = (path: string, name: string, file: string) =>
  `nbds+unix://${name}@/?socket=${path}&tls-psk-file=${file}`;

async function ok(program: string, ...args: string[]): Promise<string> {
  const { code, out, err } = await run(program, args);
  if (code !== 0) throw new Error(`${program} ${args.join(' ')}: ${code}\n${out}${err}`);
  return out;
}

const noise = (name: string, bytes: number): string => {
  writeFileSync(at(name), randomBytes(bytes));
  return at(name);
};
const same = (a: string, b: string) => readFileSync(a).equals(readFileSync(b));

/** The refusal of a client that must fail, when it has come. */
async function refusal(t: Test, rig: TlsServer, uri: string): Promise<string> {
  const before = rig.refusals().length;
  const { code } = await run('nbdinfo', ['--size', uri]);
  t.not(code, 0, 'the client fails');
  await until('a refusal', () => rig.refusals().length > before);
  return rig.refusals().at(-1) ?? '';
}

t.test('nbdcopy copies 64 MiB in and out with 1 and 4 connections, over a unix socket and TCP', async (t) => {
  const rig = await serveTls(t, certificates(), { sizeBytes: 64 << 20 });
  const image = noise('image', 64 << 20);
  const unix = uriOf(rig.path, nobody);
  await ok('nbdcopy', '--connections=4', '--requests=16', '--flush', image, unix);
  await ok('nbdcopy', '--connections=1', unix, at('back'));
  t.ok(same(image, at('back')));
  const tcp = `nbds://localhost:${rig.port}/?tls-certificates=${nobody}`;
  await ok('nbdcopy', '--connections=1', image, tcp);
  await ok('nbdcopy', '--connections=4', tcp, at('again'));
  t.ok(same(image, at('again')));
  t.notOk(readFileSync(join(rig.dir, 'disk')).includes(readFileSync(image).subarray(0, 64)));
  t.same(rig.refusals(), []);
});

t.test('client certificates are accepted and refused, each refusal by its line', async (t) => {
  const rig = await serveTls(t, verifying(), { names: ['ada'] });
  t.equal(await ok('nbdinfo', '--size', uriOf(rig.path, ada)), `${16 << 20}\n`);
  t.match(
    rig.events.filter(({ kind }) => kind === 'secured'),
    [{ clientName: 'ada' }],
  );
  t.equal(await refusal(t, rig, uriOf(rig.path, nobody)), 'TLS client: peer did not return a certificate');
  t.match(
    await refusal(t, rig, uriOf(rig.path, stranger)),
    /^TLS client: the client's certificate is refused: (unable to get local issuer certificate|certificate signature failure)$/,
  );
  t.equal(
    await ok('nbdinfo', '--size', uriOf(rig.path, ada)),
    `${16 << 20}\n`,
    'and nobody else is hindered',
  );
});

t.test('a client that does not trust the server says so, and is quoted', async (t) => {
  const rig = await serveTls(t, certificates());
  const doubting = new GnutlsCa(at('doubting')).folder('doubting');
  // libnbd looks at the server's certificate over TCP only.
  const uri = `nbds://localhost:${rig.port}/?tls-certificates=${doubting}`;
  t.match(await refusal(t, rig, uri), /^TLS client: the client refuses: |^NBD peer: /);
});

t.test('pre-shared keys are accepted and refused, each refusal by its line', async (t) => {
  const rig = await serveTls(t, preShared(), { names: ['alice'] });
  t.equal(await ok('nbdinfo', '--size', pskUri(rig.path, 'alice', keys)), `${16 << 20}\n`);
  t.match(await run('nbdinfo', ['--size', pskUri(rig.path, 'bob', keys)]), { code: 1 }, "not bob's export");
  t.match(
    await refusal(t, rig, pskUri(rig.path, 'mallory', otherKeys)),
    /^TLS client: no pre-shared key for "mallory" \(/,
  );
  t.match(await refusal(t, rig, pskUri(rig.path, 'alice', otherKeys)), /^TLS client: \S/);
  t.match(
    await refusal(t, rig, uriOf(rig.path, ada)),
    /^TLS client: \S/,
    'a certificate where keys are wanted',
  );
  const image = noise('small', 16 << 20);
  await ok('nbdcopy', '--flush', image, pskUri(rig.path, 'alice', keys));
  await ok('nbdcopy', pskUri(rig.path, 'alice', keys), at('small-back'));
  t.ok(same(image, at('small-back')));
});

/** nbdsh with one TLS version alone. */
const inVersion = (version: string, connect: string[]) =>
  run(
    'nbdsh',
    [
      'h.set_uri_allow_local_file(True)',
      ...connect,
      'h.pwrite(b"tls" * 1000, 4000)',
      'print(h.pread(3000, 4000) == b"tls" * 1000, h.get_tls_negotiated())',
      'h.shutdown()',
    ].flatMap((line) => ['-c', line]),
    { ...process.env, ...only(version) },
  );
/** GnuTLS's configuration file, which switches all other versions off. */
function only(version: string): NodeJS.ProcessEnv {
  const file = at(`gnutls-${version}`);
  const others = ['tls1.0', 'tls1.1', 'tls1.2', 'tls1.3'].filter((one) => one !== `tls${version}`);
  writeFileSync(file, ['[overrides]', ...others.map((one) => `disabled-version = ${one}`), ''].join('\n'));
  return { GNUTLS_SYSTEM_PRIORITY_FILE: file, GNUTLS_SYSTEM_PRIORITY_FAIL_ON_INVALID: '1' };
}

t.test('a client of TLS 1.2 alone and one of 1.3 alone work, with certificates and with keys', async (t) => {
  const withCertificates = await serveTls(t, verifying());
  const withKeys = await serveTls(t, preShared());
  for (const version of ['1.2', '1.3']) {
    for (const [how, uri] of [
      ['certificates', uriOf(withCertificates.path, ada)],
      ['keys', pskUri(withKeys.path, 'alice', keys)],
    ]) {
      const { code, out, err } = await inVersion(version, [`h.connect_uri("${uri}")`]);
      t.equal(code, 0, `${how}, ${version}: ${err}`);
      t.equal(out, 'True True\n');
    }
  }
});

t.test('a server of TLS 1.3 alone refuses a client of 1.2 by its line', async (t) => {
  const rig = await serveTls(t, certificates({ minimum: '1.3' }));
  const uri = uriOf(rig.path, nobody);
  t.match(await inVersion('1.3', [`h.connect_uri("${uri}")`]), { code: 0 });
  t.match(await inVersion('1.2', [`h.connect_uri("${uri}")`]), { code: 1 });
  await until('a refusal', () => rig.refusals().length === 1);
  t.same(rig.refusals(), ['TLS client: unsupported protocol']);
});

t.test('qemu-img works over tls-creds-x509 and tls-creds-psk', async (t) => {
  const withCertificates = await serveTls(t, verifying());
  const withKeys = await serveTls(t, preShared());
  const image = noise('qemu', 16 << 20);
  // qemu looks for keys.psk in a folder of its own, and takes certificates over TCP only by a name.
  for (const [credentials, port] of [
    [`tls-creds-x509,id=tls0,dir=${ada},endpoint=client`, withCertificates.port],
    [`tls-creds-psk,id=tls0,dir=${dir},username=alice,endpoint=client`, withKeys.port],
  ]) {
    const target = `driver=nbd,server.type=inet,server.host=localhost,server.port=${port},tls-creds=tls0`;
    const object = ['--object', credentials ?? ''];
    await ok('qemu-img', 'convert', ...object, '-n', '-f', 'raw', '--target-image-opts', image, `${target}`);
    const compared = await ok(
      'qemu-img',
      'compare',
      ...object,
      '--image-opts',
      target,
      `driver=raw,file.driver=file,file.filename=${image}`,
    );
    t.match(compared, 'identical');
  }
});
