/** A server under a service manager: sockets that it is handed, and what it says. systemd's own program is the judge. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, renameSync } from 'node:fs';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { MAIN, rig as openRig, run, type Serving, until } from '../cli/rig.js';

t.setTimeout(170_000);

/** A service manager's end of NOTIFY_SOCKET, abstract or a file: prints each message as one line of JSON. */
const LISTENER = `
import json, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
name = sys.argv[1]
s.bind("\\0" + name[1:] if name[0] == "@" else name)
print("listening", flush=True)
while True:
    print(json.dumps(s.recv(4096).decode().split("\\n")), flush=True)
`;

async function manager(t: Test, path: string): Promise<string[][]> {
  const child = spawn('python3', ['-c', LISTENER, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => child.kill('SIGKILL'));
  const heard: string[][] = [];
  const lines = createInterface({ input: child.stdout });
  await once(lines, 'line'); // it listens
  lines.on('line', (line) => heard.push(JSON.parse(line)));
  return heard;
}

/** As systemd hands sockets over: from descriptor 3 on, listening, for this process. */
const HANDED = (sockets: string) => `
import fcntl, os, socket, sys
def unix(path):
    s = socket.socket(socket.AF_UNIX); s.bind(path); s.listen(); return s
def tcp(host, family=socket.AF_INET):
    s = socket.socket(family); s.bind((host, 0)); s.listen(); return s
high = [fcntl.fcntl(s, fcntl.F_DUPFD, 100) for s in [${sockets}]]
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i)
os.environ["LISTEN_FDS"] = str(len(high))
os.environ.setdefault("LISTEN_PID", str(os.getpid()))
os.execv(sys.argv[1], sys.argv[1:])
`;

const handed = (sockets: string) => ['python3', '-c', HANDED(sockets)];
const sizeAt = (uri: string) => run('nbdinfo', ['--size', uri]);

const urisOf = async (server: Serving): Promise<string[]> => {
  const { exports } = await server.event('serving');
  return (exports as { uris: string[] }[]).flatMap(({ uris }) => uris);
};

t.test('sockets that were handed over are served, unix and TCP, beside our own', async (t) => {
  const rig = openRig(t);
  const disk = await rig.disk('data');
  const sockets = `unix("${rig.at('a')}"), tcp("127.0.0.1"), tcp("::1", socket.AF_INET6)`;
  const server = await rig.serveBy(handed(sockets), {}, disk, '--socket', rig.at('b'));
  const uris = await urisOf(server);
  t.match(uris, [
    `nbd+unix:///?socket=${rig.at('b')}`,
    `nbd+unix:///?socket=${rig.at('a')}`,
    /^nbd:\/\/127\.0\.0\.1:\d+\/$/,
    /^nbd:\/\/\[::1\]:\d+\/$/,
  ]);
  for (const uri of uris) t.match(await sizeAt(uri), { code: 0, out: `${16 << 20}\n` }, uri);
  t.match(await server.stop(), { code: 0 });
  t.notOk(existsSync(rig.at('b')), 'our own socket file is gone');
  t.ok(existsSync(rig.at('a')), 'what systemd has made is not ours to remove');
});

t.test('systemd-socket-activate starts the server at the first client, which is served', async (t) => {
  const rig = openRig(t);
  const disk = await rig.disk('data');
  const keep = ['SEALDISK_POOL', 'SEALDISK_RUN', 'NOTIFY_SOCKET', 'PATH'].map((name) => `--setenv=${name}`);
  const heard = await manager(t, rig.at('notify'));
  const over = { NOTIFY_SOCKET: rig.at('notify') };
  const program = ['systemd-socket-activate', ...keep, `--listen=${rig.at('a')}`];
  const starting = rig.serveBy(program, over, disk);
  await until('it listens', () => existsSync(rig.at('a')));
  t.same(heard, [], 'nothing runs yet');
  const uri = `nbd+unix:///?socket=${rig.at('a')}`;
  t.match(await sizeAt(uri), { code: 0, out: `${16 << 20}\n` });
  const server = await starting;
  t.equal(server.uri, uri);
  t.match(await server.stop(), { code: 0 });
  await until('it has said that it stops', () => heard.length === 2);
  t.match(heard, [
    ['READY=1', 'STATUS=1 disk: 1 live'],
    ['STOPPING=1', 'STATUS=stopping (SIGTERM)'],
  ]);
});

t.test('what is handed over and is no listening stream is refused, and nothing is begun', async (t) => {
  const rig = openRig(t);
  const disk = await rig.disk('data');
  const refused = async (sockets: string, over: NodeJS.ProcessEnv, code: number, line: RegExp) => {
    const words = [process.execPath, MAIN, 'serve', disk];
    const ran = await run('python3', [...handed(sockets).slice(1), ...words], { ...rig.env, ...over });
    t.match(ran, { code, out: '', err: line });
    t.equal(ran.err.split('\n').length, 2);
    t.notOk(existsSync(rig.at('run')));
  };
  await refused('socket.socketpair()[0]', {}, 9, /cannot listen on descriptor 3: EINVAL/);
  await refused(`tcp("127.0.0.1"), open("${disk}")`, {}, 9, /cannot listen on descriptor 4: ENOTSOCK/);
  await refused('tcp("127.0.0.1")', { LISTEN_PID: '1' }, 2, /found neither --socket nor --listen/);
  const words = ['serve', disk];
  const listen = (over: NodeJS.ProcessEnv) =>
    run('bash', ['-c', `LISTEN_PID=$$ exec "$0" "$@"`, process.execPath, MAIN, ...words], {
      ...rig.env,
      ...over,
    });
  t.match(await listen({ LISTEN_FDS: 'many' }), { code: 2, err: /LISTEN_FDS is "many"/ });
  t.match(await listen({ LISTEN_FDS: '0' }), { code: 2, err: /found neither/ });
});

t.test('a manager in the abstract namespace hears of a lost key; a deaf one is no failure', async (t) => {
  const rig = openRig(t);
  const [one, two] = [await rig.disk('one'), await rig.disk('two')];
  const name = `@${rig.dir}/notify`;
  const heard = await manager(t, name);
  const server = await rig.serveBy([], { NOTIFY_SOCKET: name }, one, two, '--socket', rig.at('s'));
  await rig.kms.disableKey('alias/one');
  await until('the loss is told', () => heard.length === 2);
  await rig.kms.enableKey('alias/one');
  await until('the return is told', () => heard.length === 3);
  process.kill(server.pid, 'SIGHUP');
  await until('the reload is told', () => heard.length === 5);
  t.match(await server.stop('SIGINT'), { code: 0 });
  await until('the end is told', () => heard.length === 6);
  t.match(heard, [
    ['READY=1', 'STATUS=2 disks: 2 live'],
    ['STATUS=2 disks: 1 live, 1 hung'],
    ['STATUS=2 disks: 2 live'],
    ['RELOADING=1', /^MONOTONIC_USEC=\d+$/],
    ['READY=1', 'STATUS=2 disks: 2 live'],
    ['STOPPING=1', 'STATUS=stopping (SIGINT)'],
  ]);
  const deaf = await rig.serveBy([], { NOTIFY_SOCKET: rig.at('nobody') }, one, '--socket', rig.at('s'));
  t.match(await deaf.event('notify_failed'), { level: 40 });
  t.match(await deaf.stop(), { code: 0 });
});

t.test('a start that is stopped ends with 0, and leaves nothing', async (t) => {
  const rig = openRig(t);
  const disk = await rig.disk('data');
  renameSync(rig.at('pool/kms'), rig.at('away'));
  const child = spawn(process.execPath, [MAIN, 'serve', disk, '--socket', rig.at('s')], {
    env: rig.env,
    stdio: 'ignore',
  });
  t.teardown(() => child.kill('SIGKILL'));
  await until(
    'it waits for its KMS',
    () => existsSync(rig.at('run')) && readdirSync(rig.at('run')).length === 1,
  );
  child.kill('SIGTERM');
  const [code] = await once(child, 'exit');
  t.equal(code, 0);
  t.same(readdirSync(rig.at('run')), []);
});
