/** Disks on sockets: several exports of one server, each with a key, a gate and a record of its own. */

import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import t from 'tap';
import { rig as openRig, type Rig, run } from '../cli/rig.js';

t.setTimeout(170_000);

const io = (uri: string, ...commands: string[]) =>
  run('qemu-io', ['-f', 'raw', ...commands.flatMap((command) => ['-c', command]), uri]);

/** What nbdinfo sees of a server: the name, description and size of each export. */
async function listed(uri: string): Promise<unknown[]> {
  const { code, out, err } = await run('nbdinfo', ['--list', '--json', '--no-content', uri]);
  if (code !== 0) throw new Error(`nbdinfo: ${code}, ${err}`);
  return JSON.parse(out).exports.map((one: Record<string, unknown>) => [
    one['export-name'],
    one.description,
    one['export-size'],
  ]);
}

t.test('a served disk whose process was killed is in service no more, and is served again', async (t) => {
  const rig = openRig(t);
  const disk = await rig.disk('data');
  const first = await rig.serve(disk, '--socket', rig.at('s'));
  t.match(await rig.json('list'), [{ path: disk, serverPid: first.pid, gate: 'live' }]);
  await first.stop('SIGKILL');
  t.same(await rig.json('list'), [], 'the list forgets it');
  const second = await rig.serve(disk, '--socket', rig.at('s'));
  t.match(await rig.json('info', disk), { serverPid: second.pid, gate: 'live' });
  t.equal((await second.stop()).code, 0);
  t.same(readdirSync(rig.at('run')), [], 'and nothing is left of either');
});

/** A folder with two disks, named by file and by token, and with what is no disk. */
async function folderOfDisks(rig: Rig): Promise<string> {
  mkdirSync(rig.at('disks/folder'), { recursive: true });
  await rig.json('create', rig.at('disks/one.disk'), '--size', '16M');
  await rig.json('create', rig.at('disks/two.disk'), '--size', '16M', '--name', 'Größe 2');
  writeFileSync(rig.at('disks/notes'), 'no disk\n'.repeat(5_000));
  writeFileSync(rig.at('disks/foreign'), Buffer.alloc(32 << 20));
  const key = ['--cipher', 'aes-xts-plain64', '--key-size', '512', '--pbkdf', 'pbkdf2'];
  const format = ['-q', 'luksFormat', '--type', 'luks2', ...key, '--pbkdf-force-iterations', '1000'];
  writeFileSync(rig.at('word'), 'word');
  t.match(await run('cryptsetup', [...format, rig.at('disks/foreign'), rig.at('word')]), { code: 0 });
  return rig.at('disks');
}

t.test('a folder is every disk in it, each by its name, on every socket', async (t) => {
  const rig = openRig(t);
  const folder = await folderOfDisks(rig);
  const extra = await rig.disk('extra');
  const sockets = ['--socket', rig.at('s'), '--socket', rig.at('s2'), '--listen', '127.0.0.1:0'];
  const server = await rig.serve(folder, extra, ...sockets);
  const uri = (name: string, socket = 's') =>
    `nbd+unix:///${encodeURIComponent(name)}?socket=${rig.at(socket)}`;
  t.equal(server.uri, uri('one'));
  const all = [
    ['one', undefined, 16 << 20],
    ['Größe 2', 'Größe 2', 16 << 20],
    ['extra', undefined, 16 << 20],
  ];
  t.same(await listed(uri('')), all);
  t.same(await listed(uri('', 's2')), all, 'on the second socket, too');
  t.match(await io(uri('one'), 'write -P 1 0 1M'), { code: 0 });
  t.match(await io(uri('Größe 2', 's2'), 'read -P 1 0 1M', 'write -P 2 0 1M'), {
    out: /verification failed/,
  });
  t.match(await io(uri('extra'), 'write -P 3 0 1M'), { code: 0 });
  t.match(
    await io(uri('one', 's2'), 'read -P 1 0 1M'),
    { code: 0 },
    'what was written is there, on another socket',
  );
  t.match(await io(uri('nobody'), 'read 0 512'), { code: 1, err: /no export "nobody"/ });
  const shown = await rig.json('list');
  t.same(shown.map((one: { address: string }) => one.address).sort(), [
    uri('Größe 2'),
    uri('extra'),
    uri('one'),
  ]);
  t.same(new Set(shown.map((one: { serverPid: number }) => one.serverPid)), new Set([server.pid]));
  t.match(await rig.json('info', extra), { address: uri('extra'), gate: 'live', io: { writes: '1' } });
  t.equal((await server.stop()).code, 0);
  t.same(readdirSync(rig.at('run')), []);
  t.notOk(existsSync(rig.at('s')) || existsSync(rig.at('s2')));
});

t.test('a key that is lost for one export stops that one alone', async (t) => {
  const rig = openRig(t);
  const [one, two] = [await rig.disk('one'), await rig.disk('two')];
  const server = await rig.serve(one, two, '--socket', rig.at('s'));
  const uri = (name: string) => `nbd+unix:///${name}?socket=${rig.at('s')}`;
  t.match(await io(uri('one'), 'write -P 1 0 4k'), { code: 0 });
  await rig.kms.disableKey('alias/one');
  t.match(await server.event('key_lost'), { code: 'KMS_KEY_DISABLED' });
  t.match(await rig.json('info', one), { gate: 'hung' });
  t.match(await rig.json('info', two), { gate: 'live', reason: '' });
  const waiting = io(uri('one'), 'read -P 1 0 4k');
  t.match(await io(uri('two'), 'write -P 2 0 1M', 'read -P 2 0 1M', 'flush'), { code: 0 });
  t.match(await rig.json('info', one), { io: { parked: 1 } }, 'meanwhile the first one waits');
  await rig.kms.enableKey('alias/one');
  t.match(await waiting, { code: 0, out: /read 4096/ });
  t.equal((await server.stop()).code, 0);
});

t.test('one disk that cannot start refuses the start, and nothing is left of the others', async (t) => {
  const rig = openRig(t);
  const [good, bad] = [await rig.disk('good'), await rig.disk('bad')];
  await rig.kms.disableKey('alias/bad');
  const whole = readFileSync(good);
  const refused = async (code: number, line: RegExp, ...words: string[]) => {
    const ran = await rig.sealdisk('serve', ...words, '--socket', rig.at('s'), '--log-level', 'error');
    t.match(ran, { code, out: '', err: line }, words.join(' '));
    t.equal(ran.err.split('\n').length, 2, 'in one line');
    t.same(existsSync(rig.at('run')) ? readdirSync(rig.at('run')) : [], []);
    t.notOk(existsSync(rig.at('s')));
  };
  await refused(
    5,
    /^sealdisk: [^\n]*bad: key local:alias\/bad is disabled; [^\n]*KMS_KEY_DISABLED/,
    good,
    bad,
  );
  await refused(3, /none: no such disk/, good, rig.at('none'));
  await refused(2, /good and .*good have the same uuid/, good, good);
  writeFileSync(rig.at('text'), 'no disk');
  await refused(4, /text is not a LUKS2 volume/, good, rig.at('text'));
  mkdirSync(rig.at('empty'));
  await refused(3, /empty\/\*: no such disk/, good, rig.at('empty'));
  mkdirSync(rig.at('twin'));
  await rig.json('create', rig.at('twin/good'), '--size', '16M', '--key', 'alias/good');
  await refused(2, /good and .*twin\/good have the same export name, "good"/, good, rig.at('twin/good'));
  await refused(9, /cannot listen on /, good, '--socket', rig.at('nowhere/s'));
  t.ok(whole.equals(readFileSync(good)), 'the good one was not touched');
});

t.test('a server takes as many clients as it was told, on all its sockets together', async (t) => {
  const rig = openRig(t);
  const sockets = ['--socket', rig.at('s'), '--socket', rig.at('s2')];
  const limits = [
    '--max-connections',
    '2',
    '--handshake-timeout',
    '500ms',
    '--idle-timeout',
    '5s',
    '--log-level',
    'debug',
  ];
  const server = await rig.serve(await rig.disk('data'), ...sockets, ...limits);
  const uri = (socket: string) => `nbd+unix:///?socket=${rig.at(socket)}`;
  const hold = [`h.connect_uri("${uri('s')}")`, `h2=nbd.NBD(); h2.connect_uri("${uri('s2')}")`];
  const third = `
try:
    nbd.NBD().connect_uri("${uri('s')}")
except nbd.Error as e:
    print("refused")
h2.shutdown()`;
  const ran = await run(
    'nbdsh',
    [...hold, third].flatMap((line) => ['-c', line]),
  );
  t.match(ran, { code: 0, out: 'refused\n' }, ran.err);
  const silent = connect(rig.at('s'));
  silent.resume();
  await new Promise((resolve) => silent.once('close', resolve));
  t.pass('a client that says nothing is gone after the handshake timeout');
  const idle = `h.connect_uri("${uri('s')}"); h.pread(512, 0)
while h.poll(-1) >= 0 and not (h.aio_is_closed() or h.aio_is_dead()): pass
print("gone")`;
  t.match(
    await run('nbdsh', ['-c', idle]),
    { out: 'gone\n' },
    'and one that asks nothing after the idle timeout',
  );
  const { code, log } = await server.stop();
  t.equal(code, 0);
  t.match(log, /"kind":"refused","peer":"unix","connections":2/);
  t.match(log, /NBD_HANDSHAKE_TIMEOUT/);
});
