/** sealdisk kms serve: the embedded KMS on the network, until SIGTERM or SIGINT. */

import { join, resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { openNotify } from '../attach/serve/systemd.js';
import { engine } from '../engine/engine.js';
import { fail } from '../errors.js';
import { holdRoot } from '../kms/local/root/held.js';
import type { Address } from '../kms/server/http.js';
import { RATE_DEFAULT } from '../kms/server/limits.js';
import { type KmsServeOptions, type ServingKms, serveKms } from '../kms/server/serve.js';
import { openLog } from '../log.js';
import { action, type CommonOptions, common } from './context.js';
import { printLine } from './output.js';
import { askOnTerminal } from './passphrase.js';

interface Options extends CommonOptions {
  readonly listen: Address;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly clientCa?: string;
  readonly region?: string;
  readonly health?: Address;
  readonly rateLimit: number;
}

const RATE_MAX = 1_000_000;

export function registerServe(group: Command): void {
  const command = group
    .command('serve')
    .description('speak the AWS and the Alibaba Cloud KMS protocol; prints one line when it is ready')
    .requiredOption('--listen <host:port>', 'where clients come; port 0 takes a free one', parseAddress)
    .option('--tls-cert <file>', 'PEM certificate chain; without it plain HTTP, on loopback only')
    .option('--tls-key <file>', 'its PEM private key')
    .option('--client-ca <file>', 'PEM certificates that must have signed those of clients')
    .option('--region <region>', 'the one region that clients sign for (default: any)', parseRegion)
    .option('--health <host:port>', 'where /healthz, /readyz and /metrics are', parseAddress)
    .option('--rate-limit <number>', 'calls a second of each access key', parseRate, RATE_DEFAULT);
  common(command, 'sealdisk kms serve --listen 127.0.0.1:7700 --health 127.0.0.1:7701').action(
    action(async (options: Options) => run(options)),
  );
}

async function run(options: Options): Promise<void> {
  const log = openLog(options.logLevel);
  const asked = optionsOf(options);
  engine().protectProcess({ lockMemory: false, oomScoreAdj: 0 });
  const notify = openNotify(process.env, log);
  const stopped = new Promise<string>((stop) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop(signal));
  });
  askOnTerminal();
  const letGoOfRoot = holdRoot(asked.dir);
  const serving = await serveKms(asked, log);
  process.on('SIGHUP', () => void serving.reload());
  announce(serving, options);
  log.info({ event: 'serving', origin: serving.origin, healthPort: serving.healthPort }, serving.origin);
  notify({ kind: 'ready', status: serving.origin });
  const signal = await stopped;
  notify({ kind: 'stopping', status: `stopping (${signal})` });
  log.info({ event: 'stopping', signal }, 'answering what was begun');
  await serving.close();
  letGoOfRoot();
}

function announce({ origin, healthPort }: ServingKms, { json, health }: Options): void {
  const healthOrigin = health && `http://${hostOf(health)}:${healthPort}`;
  if (json) {
    printLine(
      JSON.stringify({ endpoint: origin, pid: process.pid, ...(health && { health: healthOrigin }) }),
    );
  } else printLine(`listening on ${origin}${healthOrigin ? `, health on ${healthOrigin}` : ''}`);
}

const hostOf = ({ host }: Address): string => (host.includes(':') ? `[${host}]` : host);

function optionsOf(options: Options): KmsServeOptions {
  const { tlsCert, tlsKey, clientCa, region, health, listen, rateLimit } = options;
  if (!tlsCert !== !tlsKey)
    fail('USAGE', { what: '--tls-cert and --tls-key go together, found one of them' });
  if (clientCa && !tlsCert) fail('USAGE', { what: '--client-ca needs --tls-cert and --tls-key' });
  const tls = tlsCert &&
    tlsKey && {
      certPath: resolve(tlsCert),
      keyPath: resolve(tlsKey),
      ...(clientCa !== undefined && { clientCaPath: resolve(clientCa) }),
    };
  return {
    dir: join(resolve(options.pool), 'kms'),
    listen,
    rateLimit,
    ...(tls && { tls }),
    ...(region !== undefined && { region }),
    ...(health && { health }),
  };
}

function parseAddress(text: string): Address {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})$/.exec(text);
  const [, ipv6, name] = match ?? [];
  const port = Number(match?.[3]);
  const host = ipv6 ?? name;
  if (host === undefined || port > 65_535)
    throw new InvalidArgumentError('Expected HOST:PORT or [IPV6]:PORT.');
  return { host, port };
}

function parseRegion(text: string): string {
  if (!/^[a-z0-9-]{1,64}$/.test(text)) throw new InvalidArgumentError('Expected letters, digits and -.');
  return text;
}

function parseRate(text: string): number {
  const rate = /^\d{1,7}$/.test(text) ? Number(text) : 0;
  if (rate < 1 || rate > RATE_MAX) throw new InvalidArgumentError(`Expected a number from 1 to ${RATE_MAX}.`);
  return rate;
}
