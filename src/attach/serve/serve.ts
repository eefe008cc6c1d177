/**
 * Disks on sockets: `sealdisk serve`, for any NBD client.
 *
 * The handshake is src/nbd; when transmission begins the socket goes to the engine. All exports start, or none: one that
 * cannot refuses the start, and then nothing is left behind. They begin before the listeners do and end after them, so
 * that no client meets a disk without its key at the start, or is told of a write that is not synced at the end.
 */

import { KeyChecks } from '../../disk/key-checks.js';
import { engine } from '../../engine/engine.js';
import { fail, isFailure } from '../../errors.js';
import type { Log } from '../../log.js';
import {
  type Limits,
  type ListenAddress,
  type NbdServer,
  type ServerEvent,
  startServer,
} from '../../nbd/server.js';
import { mayTouch } from '../../pool/may.js';
import { clientNamesOf } from './access.js';
import { findDisks } from './disks.js';
import { type End, endAll } from './ends.js';
import { type ExportOptions, ServedExport } from './served-export.js';
import { ServedTls, type TlsOptions } from './tls.js';
import { uriOf } from './uri.js';

export interface ServeOptions extends ExportOptions {
  /** Disks, and folders of disks. */
  readonly targets: readonly string[];
  /** Of a single disk; undefined for the empty name. */
  readonly exportName: string | undefined;
  readonly listen: readonly ListenAddress[];
  readonly limits: Partial<Limits>;
  readonly tls: TlsOptions | undefined;
  /** Texts like EXPORT=NAME: which TLS clients may see and open an export; the others are open to all. */
  readonly allowedClients: readonly string[];
}

export interface ExportSummary {
  readonly name: string;
  readonly path: string;
  readonly uuid: string;
  /** NBD URIs, one for each listener. */
  readonly uris: readonly string[];
}

export interface Serving {
  readonly exports: readonly ExportSummary[];
  /** One line for people: how many disks there are and how they are. */
  status(): string;
  /** Reads the files of TLS again. Never fails. */
  reload(): Promise<void>;
  /** Ends the listeners, then the connections, then the exports. Twice is fine. */
  close(): Promise<void>;
}

/**
 * Serves the disks until closed; `onChange` hears that the status has changed. Fails with USAGE, DISK_*, LUKS2_*, KMS_*, TLS_*
 * or NBD_ADDRESS.
 */
export async function serve(options: ServeOptions, log: Log, onChange: () => void): Promise<Serving> {
  engine().protectProcess({ lockMemory: false, oomScoreAdj: 0 });
  const disks = await findDisks(options.targets, options.exportName);
  const { poolDir, expectedKey } = options;
  const environment = { poolDir, env: process.env, namedByOwner: expectedKey !== null };
  for (const { disk } of disks) await mayTouch('ecs:AttachDisk', disk, environment);
  const allowed = clientNamesOf(
    options.allowedClients,
    disks.map(({ name }) => name),
  );
  const tls = options.tls && (await ServedTls.open(options.tls, log));
  const checks = new KeyChecks();
  const exports = disks.map((disk) => new ServedExport(disk, options, log, checks));
  const forget = () => {
    for (const one of exports) one.forget();
  };
  process.once('exit', forget); // of a process that is stopped while it starts
  const ends: End[] = [
    () => tls?.close(),
    () => process.off('exit', forget),
    () => allOf(exports, (one) => one.close()),
  ];
  try {
    await allOf(exports, (one) => one.open(onChange));
    const server = await listen(exports, allowed, options, tls, log);
    ends.push(() => server.close());
    const summaries = exports.map((one) => summaryOf(one, options, server.addresses));
    await allOf(exports, (one, i) => one.record(summaries[i]?.uris[0] ?? ''));
    return {
      exports: summaries,
      status: () => statusOf(exports),
      reload: () => tls?.reload() ?? Promise.resolve(),
      close: () => endAll(ends),
    };
  } catch (error) {
    await endAll(ends).catch((late) => log.error({ event: 'close_failed', err: late }, 'close'));
    throw error;
  }
}

/** Does it to all at once; fails with the first failure when all have ended. */
async function allOf(
  exports: readonly ServedExport[],
  act: (one: ServedExport, index: number) => Promise<void>,
): Promise<void> {
  const acting = exports.map(act);
  await Promise.allSettled(acting);
  await Promise.all(acting);
}

function listen(
  exports: readonly ServedExport[],
  allowed: ReadonlyMap<string, readonly string[]>,
  options: ServeOptions,
  tls: ServedTls | undefined,
  log: Log,
): Promise<NbdServer> {
  const byName = new Map(exports.map((one) => [one.name, one]));
  return startServer({
    listen: options.listen,
    limits: options.limits,
    replies: 'extended',
    ...(tls && { tls }),
    exports: () => exports.map((one) => one.describe(allowed.get(one.name))),
    transmit: (args) => {
      const one = byName.get(args.negotiated.exportName);
      return one?.transmit(args) ?? fail('INTERNAL', { what: 'a client of an export that nobody has' });
    },
    onEvent: (event) => log[levelOf(event)](event, 'nbd'),
  });
}

/** What a client did wrong is its own business, and anybody may do it a thousand times; what we failed at is the operator's. */
function levelOf(event: ServerEvent): 'debug' | 'warn' {
  if (event.kind === 'acceptFailed') return 'warn';
  if (!('error' in event) || event.error === undefined) return 'debug';
  return isFailure(event.error, 'NBD_PROTOCOL', 'NBD_HANDSHAKE_TIMEOUT', 'TLS_PEER') ? 'debug' : 'warn';
}

const summaryOf = (
  { name, object }: ServedExport,
  { listen, tls }: ServeOptions,
  addresses: readonly string[],
): ExportSummary => ({
  name,
  path: object.path,
  uuid: object.uuid,
  uris: listen.map((asked, i) => uriOf(asked, addresses[i] ?? '', name, tls !== undefined)),
});

/** "3 disks: 2 live, 1 hung". */
function statusOf(exports: readonly ServedExport[]): string {
  const gates = (['live', 'hung', 'failed'] as const).map((gate) => ({
    gate,
    count: exports.filter((one) => one.gate === gate).length,
  }));
  const said = gates.filter(({ count }) => count > 0).map(({ gate, count }) => `${count} ${gate}`);
  return `${exports.length} ${exports.length === 1 ? 'disk' : 'disks'}: ${said.join(', ')}`;
}
