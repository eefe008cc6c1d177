/** sealdisk serve: disks on sockets, for any NBD client. */

import { resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { checkExportName } from '../attach/serve/disks.js';
import { live } from '../attach/serve/life.js';
import { type ServeOptions, type Serving, serve } from '../attach/serve/serve.js';
import { inheritedSockets, openNotify } from '../attach/serve/systemd.js';
import { changedRanges } from '../disk/diff.js';
import { nameOf, readObject } from '../disk/object.js';
import { servedReadOnly } from '../disk/put-in-service.js';
import type { Changes } from '../disk/served-disk.js';
import { fail } from '../errors.js';
import { canonicalKeyUri } from '../kms/registry.js';
import { openLog } from '../log.js';
import type { ListenAddress } from '../nbd/server.js';
import {
  action,
  argument,
  type CommonOptions,
  checkLeaseOptions,
  common,
  countUpTo,
  type LeaseOptions,
  leaseOptions,
  OBJECT,
  objectPath,
} from './context.js';
import { printJson, printLine } from './output.js';
import { type TlsWords, tlsOf, tlsOptions } from './serve-tls.js';
import { parseDuration } from './units.js';

interface Options extends CommonOptions, LeaseOptions, TlsWords {
  readonly socket: readonly string[];
  readonly listen: readonly ListenAddress[];
  readonly exportName?: string;
  readonly changedSince?: string;
  readonly maxConnections: number;
  readonly handshakeTimeout: number;
  readonly idleTimeout?: number;
  readonly drainTimeout: number;
}

function parseListen(text: string): ListenAddress {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:]*)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (!match || port > 65_535) throw new InvalidArgumentError('Expected HOST:PORT or [IPV6]:PORT.');
  return { host: match[1] ?? (match[2] || '0.0.0.0'), port };
}

/** For an option that may be given again. */
const collect =
  <T>(parse: (text: string) => T) =>
  (text: string, before: readonly T[]): readonly T[] => [...before, parse(text)];

/** Each connection costs a thread and 16 MiB of locked memory. */
const CONNECTIONS_MAX = 4096;

export function register(program: Command): void {
  const command = program
    .command('serve')
    .description('serve disks to NBD clients until SIGTERM or SIGINT; prints their NBD URIs when it is ready')
    .argument('<disk...>', `${OBJECT}, or a folder of disks`)
    .option('--socket <path>', 'listen on a unix socket; may be given again', collect(String), [])
    .option(
      '--listen <host:port>',
      'listen on TCP (without TLS the payload is not encrypted on the wire); may be given again',
      collect(parseListen),
      [],
    )
    .option('--export-name <name>', 'name of the export, for a single disk (default: the empty name)')
    .option('--changed-since <snapshot>', 'tell clients which ranges differ from that one (dirty bitmap)')
    .option(
      '--max-connections <number>',
      'clients at a time, on all sockets together',
      countUpTo(CONNECTIONS_MAX),
      64,
    )
    .option('--handshake-timeout <time>', 'how long a client may haggle', argument(parseDuration), 10_000)
    .option(
      '--idle-timeout <time>',
      'how long a client may ask nothing (default: for ever)',
      argument(parseDuration),
    )
    .option(
      '--drain-timeout <time>',
      'at the end, how long a client may take to finish its requests and read its replies',
      argument(parseDuration),
      10_000,
    );
  common(leaseOptions(tlsOptions(command)), 'sealdisk serve data.disk --socket /tmp/data.sock').action(
    action(async (disks: string[], options: Options) => {
      checkLeaseOptions(options);
      const log = openLog(options.logLevel);
      const addresses = addressesOf(options);
      checkExportName(disks, options.exportName);
      const targets = await Promise.all(disks.map((word) => objectPath(word, options)));
      const changes = await changesOf(targets, options);
      const asked = { ...optionsOf(targets, options, addresses), ...(changes && { changes }) };
      await live({
        start: (onChange) => serve(asked, log, onChange),
        announce: (serving) => announce(serving, options.json === true),
        notify: openNotify(process.env, log),
        log,
      });
    }),
  );
}

/** USAGE for more than one target, and for one that may change while it is served. */
async function changesOf(targets: readonly string[], options: Options): Promise<Changes | undefined> {
  if (options.changedSince === undefined) return undefined;
  const [path, more] = targets;
  if (path === undefined || more !== undefined)
    fail('USAGE', { what: '--changed-since is for a single object' });
  const newer = await readObject(path);
  if (!servedReadOnly(newer, options.readOnly ?? false)) {
    fail('USAGE', { what: `${path} is a disk, which may change meanwhile: expected --read-only` });
  }
  const older = await readObject(await objectPath(options.changedSince, options));
  const ranges = await changedRanges(older, newer);
  const bounds = ranges.flatMap(({ offsetBytes, sizeBytes }) => [offsetBytes, offsetBytes + sizeBytes]);
  return { since: nameOf(older), bounds: new BigUint64Array(bounds) };
}

/** Where to listen: what is asked for, and what systemd has opened for us. */
function addressesOf(options: Options): ListenAddress[] {
  const paths = options.socket.map((path) => ({ path: resolve(path) }));
  const addresses = [...paths, ...options.listen, ...inheritedSockets(process.env, process.pid)];
  if (addresses.length > 0) return addresses;
  return fail('USAGE', { what: 'found neither --socket nor --listen nor a socket of systemd, expected one' });
}

const optionsOf = (targets: string[], options: Options, listen: readonly ListenAddress[]): ServeOptions => ({
  targets,
  poolDir: resolve(options.pool),
  listen,
  exportName: options.exportName,
  limits: {
    connectionsMax: options.maxConnections,
    handshakeMs: options.handshakeTimeout,
    idleMs: options.idleTimeout ?? 0,
  },
  tls: tlsOf(options),
  allowedClients: options.allowClient,
  drainMs: options.drainTimeout,
  logLevel: options.logLevel,
  readOnly: options.readOnly ?? false,
  direct: options.direct ?? false,
  discard: options.discard ?? false,
  expectedKey: options.key === undefined ? null : canonicalKeyUri(options.key),
  kmsWaitMs: options.kmsWait,
  takeover: false,
  terms: {
    onKeyLoss: options.onKeyLoss,
    checkIntervalMs: options.keyCheckInterval,
    graceMs: options.kmsGrace ?? Number.POSITIVE_INFINITY,
  },
});

function announce({ exports }: Serving, json: boolean): void {
  const uris = exports.flatMap((one) => one.uris);
  if (json) printJson({ uri: uris[0], pid: process.pid, exports });
  else for (const uri of uris) printLine(uri);
}
