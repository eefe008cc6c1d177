/** A server with TLS, by its command line, against libnbd: who may see what, and new files at SIGHUP. */

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { rig as openRig, type Rig, run, type Serving, until } from '../cli/rig.js';
import { makeCertificates } from '../nbd/certificates.js';

t.setTimeout(170_000);

/** A CA in a folder of its own, and the words that give its files to a server. */
function certified(r: Rig, name: string) {
  mkdirSync(r.at(name));
  const { clientDir } = makeCertificates(r.at(name));
  const file = (what: string) => join(r.at(name), what);
  return {
    clientDir,
    file,
    words: ['--tls-cert', file('server-cert.pem'), '--tls-key', file('server-key.pem')],
  };
}

/** A file of pre-shared keys, as psktool writes it, with one for `name`. */
function pskFile(path: string, name: string): string {
  writeFileSync(path, `${name}:${randomBytes(32).toString('hex')}\n`, { mode: 0o600 });
  return path;
}

const uriOf = (r: Rig, name: string, folder: string) =>
  `nbds+unix:///${name}?socket=${r.at('s')}&tls-certificates=${folder}`;
const size = (uri: string) => run('nbdinfo', ['--size', uri]);

async function names(uri: string): Promise<string[]> {
  const { code, out, err } = await run('nbdinfo', ['--list', '--json', '--no-content', uri]);
  if (code !== 0) throw new Error(`nbdinfo: ${code}, ${err}`);
  return JSON.parse(out).exports.map((one: Record<string, string>) => one['export-name']);
}

t.test('TLS is optional with on, and a must with require, which a certificate implies', async (t) => {
  const r = openRig(t);
  const { clientDir, words, file } = certified(r, 'ca');
  chmodSync(file('server-key.pem'), 0o644);
  const disk = await r.disk('data');
  const anybody = clientDir();
  const plain = `nbd+unix:///?socket=${r.at('s')}`;
  for (const [more, code] of [
    [[], 1],
    [['--tls', 'on', '--tls-min', '1.3'], 0],
  ] as [string[], number][]) {
    const server = await r.serve(disk, '--socket', r.at('s'), ...words, ...more);
    t.equal(server.uri, `nbds+unix:///?socket=${r.at('s')}`);
    t.match(await server.event('secret_readable'), { level: 40, path: file('server-key.pem') });
    t.match(await size(uriOf(r, '', anybody)), { code: 0, out: `${16 << 20}\n` });
    t.match(await size(plain), { code });
    const image = r.at('image');
    writeFileSync(image, Buffer.alloc(16 << 20, 'sealdisk'));
    t.match(await run('nbdcopy', [image, uriOf(r, '', anybody)]), { code: 0 });
    t.match(await run('nbdcopy', [uriOf(r, '', anybody), r.at('back')]), { code: 0 });
    t.match(await run('cmp', [image, r.at('back')]), { code: 0 });
    t.match(await server.stop(), { code: 0 });
  }
});

t.test('an export is seen and opened by the clients that it allows, by certificate or by key', async (t) => {
  const r = openRig(t);
  const { clientDir, words, file } = certified(r, 'ca');
  const [ada, bob, nobody] = [clientDir('ada'), clientDir('bob'), clientDir()];
  const keys = pskFile(r.at('keys.psk'), 'carol');
  const disks = [await r.disk('one'), await r.disk('two'), await r.disk('three')] as const;
  const who = ['--tls-client-ca', file('ca-cert.pem'), '--tls-psk', keys];
  const allow = ['one=ada', 'one=carol', 'two=bob'].flatMap((text) => ['--allow-client', text]);
  const server = await r.serve(...disks, '--socket', r.at('s'), ...words, ...who, ...allow);
  t.same(await names(uriOf(r, '', ada)), ['one', 'three']);
  t.same(await names(uriOf(r, '', bob)), ['two', 'three']);
  const carol = (name: string) => `nbds+unix://carol@/${name}?socket=${r.at('s')}&tls-psk-file=${keys}`;
  t.same(await names(carol('')), ['one', 'three']);
  t.match(await size(uriOf(r, 'one', ada)), { code: 0 });
  t.match(await size(uriOf(r, 'two', bob)), { code: 0 });
  t.match(await size(carol('one')), { code: 0 });
  for (const uri of [uriOf(r, 'two', ada), uriOf(r, 'one', bob), carol('two'), uriOf(r, 'three', nobody)]) {
    t.not((await size(uri)).code, 0, uri);
  }
  t.match(await server.stop(), { code: 0 });
});

/** A client that stays connected; each line that it is given is a byte to write, and it tells when that is done. */
async function staying(t: Tap, uri: string) {
  const program = `
h.set_uri_allow_local_file(True)
h.connect_uri("${uri}")
print("connected", flush=True)
while True:
    h.pwrite(input().encode() * 512, 0)
    print("written", flush=True)`;
  const env = { ...process.env, PATH: `/usr/bin:${process.env.PATH}` };
  const child = spawn('/usr/bin/nbdsh', ['-c', program], { env, stdio: ['pipe', 'pipe', 'ignore'] });
  t.teardown(() => child.kill('SIGKILL'));
  let said = '';
  child.stdout.on('data', (text) => {
    said += text;
  });
  await until('the client has connected', () => said === 'connected\n');
  return async () => {
    const before = said.length;
    child.stdin.write('x\n');
    await until('the client has written', () => said.length > before);
  };
}
type Tap = Parameters<typeof openRig>[0];

async function reloaded(server: Serving, event: string, nth = 1): Promise<Record<string, unknown>> {
  process.kill(server.pid, 'SIGHUP');
  return server.event(event, nth);
}

t.test(
  'SIGHUP brings new files to new clients; old clients stay, and bad files change nothing',
  async (t) => {
    const r = openRig(t);
    const [first, second] = [certified(r, 'first'), certified(r, 'second')];
    const [ofFirst, ofSecond] = [first.clientDir(), second.clientDir()];
    const keys = pskFile(r.at('keys.psk'), 'alice');
    const bob = pskFile(r.at('bob.psk'), 'bob');
    const disk = await r.disk('data');
    const listen = ['--socket', r.at('s'), '--listen', '127.0.0.1:0'];
    const server = await r.serve(disk, ...listen, ...first.words, '--tls-psk', keys);
    const { exports } = await server.event('serving');
    // libnbd looks at a server's certificate where it knows the server's name, which a unix socket has not.
    const tcp = (folder: string) =>
      `${(exports as { uris: string[] }[])[0]?.uris[1]}?tls-certificates=${folder}`;
    t.match(await size(tcp(ofFirst)), { code: 0 });
    t.not((await size(tcp(ofSecond))).code, 0);
    const psk = (name: string, file: string) =>
      `nbds+unix://${name}@/?socket=${r.at('s')}&tls-psk-file=${file}`;
    const write = await staying(t, uriOf(r, '', ofFirst));
    t.match(await size(psk('alice', keys)), { code: 0 });
    t.not((await size(psk('bob', bob))).code, 0);

    for (const what of ['server-cert.pem', 'server-key.pem'])
      copyFileSync(second.file(what), first.file(what));
    copyFileSync(bob, keys);
    await reloaded(server, 'tls_reloaded');
    await write();
    t.match(await size(tcp(ofSecond)), { code: 0 });
    t.not((await size(tcp(ofFirst))).code, 0, 'its CA is that of yesterday');
    t.match(await size(psk('bob', bob)), { code: 0 });

    writeFileSync(first.file('server-key.pem'), 'no key');
    t.match(await reloaded(server, 'tls_reload_failed'), { level: 50, code: 'TLS_PRIVATE_KEY' });
    await write();
    t.match(await size(tcp(ofSecond)), { code: 0 }, 'what was read last stays');
    const { code, log } = await server.stop();
    t.equal(code, 0);
    t.equal((log.match(/tls_reload_failed/g) ?? []).length, 1);
    const again = await r.sealdisk(
      'serve',
      disk,
      '--socket',
      r.at('s'),
      ...first.words,
      '--log-level',
      'error',
    );
    t.match(
      again,
      { code: 4, out: '', err: /^sealdisk: [^\n]*\[TLS_PRIVATE_KEY\]\n$/ },
      'at the start it is refused',
    );
  },
);
