/**
 * The embedded KMS on the network: its parts put together, and its life from the first request to the last.
 *
 * Plain HTTP is for this machine alone: a signature proves who asks, but hides no key.
 */

import { BlockList, isIP } from 'node:net';
import { catalogued, fail, failureOf } from '../../errors.js';
import type { Log } from '../../log.js';
import { AccessKeys } from '../local/access-keys.js';
import { LocalKms } from '../local/local-kms.js';
import { Store } from '../local/store.js';
import { sweepStore } from '../local/sweep.js';
import { AliyunProtocol } from './aliyun/protocol.js';
import { AwsProtocol } from './aws/protocol.js';
import { Face } from './face.js';
import { listenHealth, portOf } from './health.js';
import { type Address, HttpFace } from './http.js';
import { DRAIN_TIMEOUT_MS, RATE_DEFAULT, SWEEP_EVERY_MS } from './limits.js';
import { FaceMetrics } from './metrics.js';
import { Rates } from './rate.js';
import { readTls, type TlsFiles } from './tls.js';

export interface KmsServeOptions {
  /** Folder of the embedded KMS. */
  readonly dir: string;
  readonly listen: Address;
  readonly tls?: TlsFiles;
  /** The only region that clients may sign for; every one when left out. */
  readonly region?: string;
  readonly health?: Address;
  /** Calls a second of each access key. */
  readonly rateLimit?: number;
  readonly headersTimeoutMs?: number;
  readonly requestTimeoutMs?: number;
  readonly sweepEveryMs?: number;
}

export interface ServingKms {
  /** `http://127.0.0.1:PORT`, or https: what clients take as their endpoint. */
  readonly origin: string;
  readonly healthPort: number | undefined;
  /** Reads the certificates again. Never fails: what is no good is logged, and changes nothing. */
  reload(): Promise<void>;
  /** Answers what was begun, then ends. */
  close(): Promise<void>;
}

/** Resolves when clients may come. Fails with USAGE, TLS_*, DISK_IO or KMS_LISTEN. */
export async function serveKms(options: KmsServeOptions, log: Log): Promise<ServingKms> {
  const { dir, listen, health } = options;
  if (!options.tls) checkLoopback(listen);
  let draining = false;
  const metrics = new FaceMetrics(() => http.connections());
  const face = makeFace(options, metrics, log);
  const tls = options.tls && (await readTls(options.tls));
  const http = await HttpFace.listen({
    address: listen,
    ...(tls && { tls: tls.options }),
    ...pick(options),
    answer: (request) => face.answer(request),
    refused: (status) => metrics.refused(status),
  });
  tls?.wipe();
  const unready = async (): Promise<string | undefined> =>
    draining ? 'it is stopping' : await unusable(dir);
  const healthParts = { registry: metrics.registry, unready };
  const healthServer = health && (await listenHealth(health, healthParts).catch(closing(http)));
  const sweeping = sweepEvery(options.sweepEveryMs ?? SWEEP_EVERY_MS, dir, log);
  return {
    origin: http.origin,
    healthPort: healthServer && portOf(healthServer),
    reload: () => reload(http, options.tls, log),
    close: async () => {
      draining = true;
      clearInterval(sweeping);
      await http.close(DRAIN_TIMEOUT_MS);
      healthServer?.close();
      healthServer?.closeAllConnections();
    },
  };
}

/** What nobody changes is swept, too. A sweep that fails changes nothing for clients. */
function sweepEvery(everyMs: number, dir: string, log: Log): NodeJS.Timeout {
  let sweeping = false;
  return setInterval(async () => {
    if (sweeping) return;
    sweeping = true;
    try {
      const { destroyed, ended, failures } = await sweepStore(dir);
      if (destroyed + ended > 0)
        log.info({ event: 'keys_swept', destroyed, ended }, 'what is over by the clock is off the disk');
      for (const { code, message } of failures) log.error({ event: 'sweep_failed', code }, message);
    } catch (error) {
      const { code, message } = catalogued(error);
      log.error({ event: 'sweep_failed', code }, message);
    } finally {
      sweeping = false;
    }
  }, everyMs).unref();
}

/** For a start that fails when clients may come already. */
const closing =
  (http: HttpFace) =>
  async (error: unknown): Promise<never> => {
    await http.close(0);
    throw error;
  };

function makeFace({ dir, region, rateLimit }: KmsServeOptions, metrics: FaceMetrics, log: Log): Face {
  return new Face({
    kms: LocalKms.open(dir),
    dir,
    keys: new AccessKeys(dir),
    protocols: [new AwsProtocol(region), new AliyunProtocol(region)],
    rates: new Rates(rateLimit ?? RATE_DEFAULT),
    metrics,
    log,
  });
}

const pick = ({ headersTimeoutMs, requestTimeoutMs }: KmsServeOptions) => ({
  ...(headersTimeoutMs !== undefined && { headersTimeoutMs }),
  ...(requestTimeoutMs !== undefined && { requestTimeoutMs }),
});

/** Why the KMS's folder cannot be used now. A folder that nobody has made yet is no fault. */
async function unusable(dir: string): Promise<string | undefined> {
  const store = new Store(dir);
  const failure = await failureOf(async () => {
    if (await store.exists()) await store.read('local:', async () => undefined);
  });
  return failure?.message;
}

async function reload(http: HttpFace, files: TlsFiles | undefined, log: Log): Promise<void> {
  if (!files) return;
  const failure = await failureOf(async () => {
    const tls = await readTls(files);
    http.renew(tls.options);
    tls.wipe();
  });
  if (failure) {
    log.error({ event: 'tls_reload_failed', code: failure.code }, `${failure.message}; TLS stays as it was`);
  } else {
    log.info({ event: 'tls_reloaded' }, 'new clients get the new certificate');
  }
}

function checkLoopback({ host }: Address): void {
  const loopback = new BlockList();
  loopback.addSubnet('127.0.0.0', 8);
  loopback.addAddress('::1', 'ipv6');
  const inside = isIP(host) ? loopback.check(host, isIP(host) === 6 ? 'ipv6' : 'ipv4') : host === 'localhost';
  if (inside) return;
  fail('USAGE', {
    what: `plain HTTP is served on loopback only, not on ${host}: give --tls-cert and --tls-key`,
  });
}
