/** A served disk and its key: what a client meets when the key is disabled, comes back, and when the server ends. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import t from 'tap';
import { MAIN, rig, run, until } from '../cli/rig.js';

t.setTimeout(280_000);

t.test('hang: fio stops without an error while the key is disabled, and verifies after', async (t) => {
  for (const over of [{}, { SEALDISK_IO: 'pool' }]) {
    const r = rig(t, over);
    const disk = await r.disk('bar');
    const server = await r.serve(disk, '--socket', r.at('s'));
    const job = ['--rw=randwrite', '--bsrange=4k-64k', '--iodepth=16', '--size=16M', '--io_size=1G'];
    const verify = ['--verify=crc32c', '--verify_fatal=1', '--verify_backlog=128', '--verify_state_save=0'];
    const bounds = ['--time_based=1', '--runtime=3'];
    const fio = spawn('fio', [
      '--name=w',
      '--ioengine=nbd',
      `--uri=${server.uri}`,
      ...job,
      ...verify,
      ...bounds,
    ]);
    t.teardown(() => fio.kill('SIGKILL'));
    let said = '';
    fio.stdout.on('data', (text) => {
      said += text;
    });
    fio.stderr.on('data', (text) => {
      said += text;
    });
    const ended = once(fio, 'close');
    await until('fio writes', async () => Number((await r.status()).writes) > 100);
    await r.kms.disableKey('alias/bar');
    await server.event('key_lost');
    await until('its requests wait', async () => (await r.status()).parked > 0);
    const hung = await r.status();
    t.match(hung, { gate: 'hung', inFlight: 0, reason: 'key local:alias/bar is disabled' });
    t.equal(fio.exitCode, null);
    t.same({ ...(await r.status()), parked: 0 }, { ...hung, parked: 0 }, 'nothing was answered');
    await r.kms.enableKey('alias/bar');
    await server.event('key_restored', 2);
    const [code] = await ended;
    t.equal(code, 0, said);
    t.match(said, /err= 0/);
    t.match(await server.stop(), { code: 0 });
  }
});

t.test('fail: a client meets EIO while the key is disabled, and reads again after', async (t) => {
  const r = rig(t);
  const server = await r.serve(await r.disk('bar'), '--socket', r.at('s'), '--on-key-loss', 'fail');
  const client = spawn('/usr/bin/nbdsh', ['-c', PROGRAM(server.uri)], {
    env: { ...process.env, PATH: `/usr/bin:${process.env.PATH}` },
  });
  t.teardown(() => client.kill('SIGKILL'));
  let said = '';
  client.stdout.on('data', (text) => {
    said += text;
  });
  await until('the client has written', () => said === 'written\n');
  await r.kms.disableKey('alias/bar');
  await server.event('key_lost');
  client.stdin.write('\n');
  await until('the client was refused', () => said === 'written\nEIO EIO EIO\n');
  await r.kms.enableKey('alias/bar');
  await server.event('key_restored', 2);
  client.stdin.write('\n');
  await once(client, 'close');
  t.equal(said, 'written\nEIO EIO EIO\nTrue True\n', 'on the same connection');
  await server.stop();
});

const PROGRAM = (uri: string) => `
def refused(call):
    try:
        call()
        return "done"
    except nbd.Error as e:
        return e.errno
h.connect_uri("${uri}")
h.pwrite(b"x" * 4096, 0)
print("written", flush=True)
input()
print(refused(lambda: h.pread(1, 0)), refused(lambda: h.pwrite(b"y", 0)), refused(lambda: h.flush()), flush=True)
input()
print(h.pread(4096, 0) == b"x" * 4096, refused(lambda: h.pwrite(b"z", 5)) == "done", flush=True)
`;

t.test('keep: the disk serves on under a disabled key, and says so', async (t) => {
  const r = rig(t);
  const server = await r.serve(await r.disk('bar'), '--socket', r.at('s'), '--on-key-loss', 'keep');
  await r.kms.disableKey('alias/bar');
  t.match(await server.event('key_kept'), { level: 50, code: 'KMS_KEY_DISABLED' });
  t.match(await run('qemu-io', ['-f', 'raw', '-c', 'write -P 7 0 1M', '-c', 'read -P 7 0 1M', server.uri]), {
    code: 0,
  });
  t.match(await r.json('list'), [{ gate: 'live', reason: 'key local:alias/bar is disabled' }]);
  await server.stop();
  t.match(await r.sealdisk('serve', r.at('bar'), '--socket', r.at('s')), { code: 5 }, 'but starts no more');
});

t.test('SIGTERM answers what is in flight, ends with 0 and leaves nothing', async (t) => {
  const r = rig(t);
  const server = await r.serve(await r.disk('bar'), '--socket', r.at('s'));
  const bench = run('qemu-img', ['bench', '-f', 'raw', '-w', '-c', '100000000', '-d', '32', server.uri]);
  await until('it writes', async () => Number((await r.status()).writes) > 100);
  const { code, log } = await server.stop();
  t.equal(code, 0, log);
  t.notMatch(log, /"level":(50|60)/);
  t.match(await bench, { code: 1 }, 'its client is told');
  t.same(readdirSync(r.at('run')), []);
  t.notOk(existsSync(r.at('s')), 'not even the socket');
});

t.test('SIGTERM ends a hung disk with parked requests, too', async (t) => {
  const r = rig(t);
  const server = await r.serve(await r.disk('bar'), '--socket', r.at('s'));
  await r.kms.disableKey('alias/bar');
  await server.event('key_lost');
  const reading = run('qemu-io', ['-f', 'raw', '-c', 'read 0 512', server.uri]);
  await until('the read is parked', async () => (await r.status()).parked === 1);
  t.match(await server.stop(), { code: 0 });
  t.match(await reading, { code: 1 });
  t.same(readdirSync(r.at('run')), []);
});

t.test('a disk is served once, and its header is written by nobody meanwhile', async (t) => {
  const r = rig(t);
  const disk = await r.disk('bar');
  const server = await r.serve(disk, '--socket', r.at('s'));
  const header = () => readFileSync(disk).subarray(0, 32_768);
  const before = header();
  t.match(await r.sealdisk('serve', disk, '--socket', r.at('s2')), { code: 8, err: /\[DISK_IN_USE\]\n$/ });
  const elsewhere = await run(process.execPath, [MAIN, 'serve', disk, '--socket', r.at('s2')], {
    ...r.env,
    SEALDISK_RUN: r.at('run2'),
  });
  t.match(elsewhere, { code: 8, err: /\[DISK_IN_USE\]\n$/ }, 'nor by one who looks into another run folder');
  t.same(readdirSync(r.at('run2')), []);
  t.match(await run('cryptsetup', ['luksDump', disk]), { code: 0, out: /sealdisk-kms/ });
  const label = await run('timeout', ['1', 'cryptsetup', 'config', '--label', 'x', disk]);
  t.not(label.code, 0, 'a writer of the header waits');
  t.ok(header().equals(before));
  t.match(await r.json('info', disk), { gate: 'live' });
  await server.stop();
  t.match(await run('cryptsetup', ['config', '--label', 'x', disk]), { code: 0 }, 'until the disk is let go');
});

t.test('a KMS that cannot be reached is waited for, and then the start fails', async (t) => {
  const r = rig(t);
  const disk = await r.disk('bar');
  renameSync(r.at('pool/kms'), r.at('away'));
  const startedMs = performance.now();
  const refused = await r.sealdisk('serve', disk, '--socket', r.at('s'), '--kms-wait', '700ms');
  t.match(refused, { code: 6, err: /kms_unreachable.*\n(.*\n)*sealdisk: .*\[KMS_CONNECTION\]\n$/ });
  t.ok(performance.now() - startedMs >= 700);
  t.same(readdirSync(r.at('run')), []);
  const patient = r.serve(disk, '--socket', r.at('s'), '--kms-wait', '1m');
  await until('it has its folder', () => readdirSync(r.at('run')).length === 1);
  renameSync(r.at('away'), r.at('pool/kms'));
  const server = await patient;
  t.match(await r.json('list'), [{ gate: 'live', address: server.uri }]);
  await server.stop();
});
