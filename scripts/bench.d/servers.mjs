// The servers that are compared: each makes its file in a folder and serves it, on a Unix socket, TCP, or TLS over it.

import { execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const START_MS = 15_000;
const SECRET = ['--object', 'secret,id=s,data=benchmark'];

export const run = (file, args, options = {}) =>
  execFileSync(file, args.map(String), { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], ...options });

const CIPHER = [
  '--cipher',
  'aes-xts-plain64',
  '--key-size',
  '512',
  '--hash',
  'sha256',
  '--pbkdf-force-iterations',
  '1000',
];

/** LUKS1, which both nbdkit and qemu-nbd read; its header takes 2 MiB beside the payload. */
function luks(path, size) {
  run('truncate', ['-s', size, path]);
  run('truncate', ['-s', '+2M', path]);
  run('cryptsetup', ['luksFormat', '-q', '--type', 'luks1', ...CIPHER, path, '-'], {
    input: 'benchmark',
    stdio: 'pipe',
  });
}

/** sealdisk from a build of it; `extra` are options of its serve, `env` is added to its environment. */
export const sealdisk = (name, root, { extra = [], env = {} } = {}) => {
  // Before the bundles, the program was what the compiler wrote.
  const main = ['dist/bin/sealdisk.cjs', 'dist/cli/main.js'].map((file) => join(root, file)).find(existsSync);
  const pool = (dir) => join(dir, 'pool');
  return {
    name,
    env,
    make: (path, dir, size) => run('node', [main, 'create', path, '--size', size, '--pool', pool(dir)]),
    command: (path, dir, where) => {
      const tls = where.tls
        ? ['--tls', 'require', '--tls-cert', where.tls.certificate, '--tls-key', where.tls.key]
        : [];
      const listen = where.socket ? ['--socket', where.socket] : ['--listen', `127.0.0.1:${where.port}`];
      return [
        'node',
        main,
        'serve',
        path,
        ...listen,
        '--pool',
        pool(dir),
        '--log-level',
        'warn',
        ...tls,
        ...extra,
      ];
    },
  };
};

const nbdkit = (name, filters, file, parameters, make) => ({
  name,
  make,
  command: (path, _dir, where) => {
    const tls = where.tls ? ['--tls=require', `--tls-certificates=${where.tls.folder}`] : [];
    const listen = where.socket ? ['-U', where.socket] : ['-i', '127.0.0.1', '-p', where.port];
    return ['nbdkit', '-f', ...listen, ...tls, ...filters, file, path, ...parameters];
  },
});

export const PLAIN = nbdkit('nbdkit, no encryption', [], 'file', [], (path, _dir, size) =>
  run('truncate', ['-s', size, path]),
);
export const LUKS = nbdkit(
  'nbdkit + luks',
  ['--filter=luks'],
  'file',
  ['passphrase=benchmark'],
  (path, _dir, size) => luks(path, size),
);
export const QEMU = {
  name: 'qemu-nbd + LUKS',
  make: (path, _dir, size) => luks(path, size),
  command: (path, _dir, where) => [
    ...['qemu-nbd', '-t', '-k', where.socket, '--shared=8', '--cache=writeback', ...SECRET, '--image-opts'],
    `driver=luks,key-secret=s,file.driver=file,file.filename=${path}`,
  ],
};

/** A client's flags, and NBD_OPT_ABORT: who only looks says so. */
const LEAVE = Buffer.from('00000001 49484156454f5054 00000002 00000000'.replaceAll(' ', ''), 'hex');

const reachable = ({ socket, port }) =>
  new Promise((resolve) => {
    if (socket && !existsSync(socket)) return resolve(false);
    const probe = createConnection(socket ? { path: socket } : { port, host: '127.0.0.1' });
    probe.once('data', () => probe.end(LEAVE, () => resolve(true)));
    probe.once('error', () => resolve(false));
  });

let ports = 20_000 + (process.pid % 10_000);

/** Without what a machine tells Node to read at each start (certificates: 50 ms): that is the machine's. */
export function environment() {
  const { NODE_EXTRA_CA_CERTS: _, NODE_OPTIONS: __, ...rest } = process.env;
  return rest;
}

/** Makes the server's file in `dir` and starts it; what the load generator and fio need to reach it. */
export async function start(server, dir, size, { tcp = false, tls } = {}) {
  const id = server.name.replaceAll(/\W+/g, '-');
  const path = join(dir, `${id}.img`);
  if (!existsSync(path)) server.make(path, dir, size);
  const where = { socket: tcp || tls ? undefined : join(dir, `${id}.sock`), port: ports++, tls };
  const [file, ...args] = server.command(path, dir, where).map(String);
  const child = spawn(file, args, {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...environment(), ...server.env },
  });
  const endsMs = performance.now() + START_MS;
  while (!(await reachable(where))) {
    if (child.exitCode !== null || performance.now() > endsMs)
      throw new Error(`${server.name} did not start`);
    await delay(20);
  }
  const reach = where.socket ? ['--socket', where.socket] : ['--host', '127.0.0.1', '--port', where.port];
  return {
    name: server.name,
    pid: child.pid,
    reach: [...reach, ...(tls ? ['--ca', tls.authority] : [])].map(String),
    uri: where.socket && `nbd+unix:///?socket=${where.socket}`,
    stop: () =>
      new Promise((resolve) => {
        if (child.exitCode !== null) return resolve();
        child.once('exit', resolve);
        child.kill('SIGTERM');
      }),
  };
}
