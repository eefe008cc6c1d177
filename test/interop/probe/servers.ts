/**
 * The servers that are compared: how each is started, with the flags of somebody who wants all that it can do, on a
 * sparse disk of 8 GiB named EXPORT.
 *
 * Kept true: a server lives no longer than its scope.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rig, until } from '../../cli/rig.js';
import { makeSecrets } from './secrets.js';
import { DESCRIPTION, EXPORT, type Flavour, NotOffered, type Secrets, SIZE_BYTES, Target } from './target.js';
import { Peer } from './wire.js';

/** Where what was started is put to be ended. */
export interface Scope {
  teardown(end: () => unknown): void;
}

export interface Kind {
  /** The column's head. */
  readonly name: string;
  /** Starts it on the socket; undefined when it has no such flavour. */
  start(scope: Scope, where: Where, flavour: Flavour): Promise<void> | undefined;
}

interface Where {
  readonly dir: string;
  readonly socket: string;
  readonly image: string;
  readonly secrets: Secrets;
}

/** A program that stays in the foreground. */
function started(scope: Scope, program: string, args: readonly string[]): Promise<void> {
  const child = spawn(program, args, {
    stdio: ['ignore', 'ignore', process.env.C_DEBUG ? 'inherit' : 'ignore'],
  });
  scope.teardown(() => ended(child));
  return once(child, 'spawn').then(() => {});
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

/** Each flavour's words, or undefined where the server has none. */
type Words = (where: Where) => Partial<Record<Flavour, readonly string[]>>;

const nbdkit = (name: string, plugin: (where: Where) => string[]): Kind => {
  const words: Words = ({ secrets }) => {
    const certificates = `--tls-certificates=${secrets.dir}`;
    return {
      plain: [],
      'read-only': ['-r'],
      tls: ['--tls=on', certificates],
      'tls-required': ['--tls=require', certificates],
      'tls-client': ['--tls=require', certificates, '--tls-verify-peer'],
      psk: ['--tls=require', `--tls-psk=${join(secrets.dir, 'keys.psk')}`],
    };
  };
  return {
    name,
    start: (scope, where, flavour) => {
      const more = words(where)[flavour];
      const names = ['--filter=exportname', ...plugin(where), 'exportname-strict=true', 'exportname='];
      const about = [`exportname=${EXPORT}`, 'exportname-list=explicit', `exportdesc=fixed:${DESCRIPTION}`];
      return more && started(scope, 'nbdkit', ['-f', '-U', where.socket, ...more, ...names, ...about]);
    },
  };
};

const qemuNbd: Kind = {
  name: 'qemu-nbd 7.2',
  start: (scope, where, flavour) => {
    const creds = (kind: string, more = '') => [
      '--object',
      `tls-creds-${kind},id=tls0,dir=${where.secrets.dir},endpoint=server${more}`,
      '--tls-creds=tls0',
    ];
    const words: Partial<Record<Flavour, string[]>> = {
      plain: [],
      'read-only': ['-r'],
      'tls-required': creds('x509', ',verify-peer=no'),
      'tls-client': creds('x509', ',verify-peer=yes'),
      psk: creds('psk'),
    };
    const more = words[flavour];
    const disk = ['-f', 'raw', '--discard=unmap', '--allocation-depth', '--cache=writeback', where.image];
    const about = ['-x', EXPORT, '-D', DESCRIPTION, '-t', '-e', '16'];
    return more && started(scope, 'qemu-nbd', ['-k', where.socket, ...about, ...more, ...disk]);
  },
};

const nbdServer: Kind = {
  name: 'nbd-server 3.24',
  start: (scope, where, flavour) => {
    const file = (name: string) => join(where.secrets.dir, `${name}.pem`);
    // It serves no TLS without an authority, and asks each client for a certificate.
    const certificate = [
      `certfile=${file('server-cert')}`,
      `keyfile=${file('server-key')}`,
      `cacertfile=${file('ca-cert')}`,
    ];
    const words: Partial<Record<Flavour, string[]>> = {
      plain: [],
      'read-only': [],
      tls: certificate,
      'tls-required': [...certificate, 'force_tls=true'],
      'tls-client': [...certificate, 'force_tls=true'],
    };
    const more = words[flavour];
    return more && daemon(scope, where, more, flavour === 'read-only');
  },
};

/** nbd-server goes to the background; its pid is in a file. */
async function daemon(scope: Scope, where: Where, more: readonly string[], readOnly: boolean): Promise<void> {
  const [config, pid] = [`${where.socket}.conf`, `${where.socket}.pid`];
  const generic = ['[generic]', `unixsock=${where.socket}`, 'allowlist=true', ...more];
  const disk = [`[${EXPORT}]`, `exportname=${where.image}`, `readonly=${readOnly}`];
  writeFileSync(config, [...generic, ...disk, 'trim=true', 'fua=true', 'flush=true', ''].join('\n'));
  await once(spawn('nbd-server', ['-C', config, '-p', pid], { stdio: 'ignore' }), 'exit');
  scope.teardown(() => process.kill(Number(readFileSync(pid, 'utf8')), 'SIGTERM'));
}

const sealdisk: Kind = {
  name: 'sealdisk',
  start: (scope, where, flavour) => {
    const file = (name: string) => join(where.secrets.dir, name);
    const certificate = ['--tls-cert', file('server-cert.pem'), '--tls-key', file('server-key.pem')];
    const words: Partial<Record<Flavour, string[]>> = {
      plain: ['--discard'],
      'read-only': ['--read-only'],
      tls: [...certificate, '--tls', 'on'],
      'tls-required': certificate,
      'tls-client': [...certificate, '--tls-client-ca', file('ca-cert.pem')],
      psk: ['--tls-psk', file('keys.psk')],
    };
    const more = words[flavour];
    if (more === undefined) return undefined;
    return (async () => {
      const r = rig(scope);
      const disk = await r.disk(EXPORT, '--discard', '--size', `${SIZE_BYTES}`, '--name', DESCRIPTION);
      await r.serve(disk, '--socket', where.socket, '--export-name', EXPORT, ...more);
    })();
  },
};

export const SEALDISK = sealdisk;
export const OTHERS: readonly Kind[] = [
  nbdkit('nbdkit 1.32, file', ({ image }) => ['file', image]),
  nbdkit('nbdkit 1.32, memory', () => ['memory', `${SIZE_BYTES}`]),
  qemuNbd,
  nbdServer,
];

/** What makes targets of one kind of server, which is started in each flavour when a row first asks for it. */
export function targets(scope: Scope, kind: Kind): (offset: number) => Target {
  const dir = mkdtempSync(join(tmpdir(), 'nbd-probe-'));
  scope.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const image = join(dir, 'disk.img');
  writeFileSync(image, '');
  truncateSync(image, Number(SIZE_BYTES));
  const secrets = makeSecrets(join(dir, 'pki'));
  const running = new Map<Flavour, string>();
  let started = 0;
  const launch = async (flavour: Flavour): Promise<string> => {
    const socket = join(dir, `${started++}`);
    await (kind.start(scope, { dir, socket, image, secrets }, flavour) ?? Promise.reject(new NotOffered()));
    await until(`${kind.name} listens`, () => reachable(socket));
    running.set(flavour, socket);
    return socket;
  };
  const dial = async (flavour: Flavour): Promise<Peer> => {
    const socket = connect(running.get(flavour) ?? (await launch(flavour)));
    await once(socket, 'connect');
    return new Peer(socket);
  };
  /** Whether every server that was started still listens; one that does not is started anew when it is dialled. */
  const lives = async (): Promise<boolean> => {
    const dead: Flavour[] = [];
    for (const [flavour, socket] of running) if (!(await reachable(socket))) dead.push(flavour);
    for (const flavour of dead) running.delete(flavour);
    return dead.length === 0;
  };
  return (offset) => new Target(secrets, offset, dial, lives);
}

/** Whether somebody greets there; what is dying may still accept a connection. */
async function reachable(path: string): Promise<boolean> {
  const peer = new Peer(connect(path));
  const greeted = await peer.take(16).then(
    () => true,
    () => false,
  );
  await peer.close();
  return greeted;
}
