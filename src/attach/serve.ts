/**
 * A disk on a socket: `sealdisk serve`, for any NBD client.
 *
 * The handshake is src/nbd; when transmission begins the socket goes to the engine. The process is recorded as an
 * attachment without a device, so that `list` shows it and disabling its key names it. SIGTERM and SIGINT drain.
 */

import { realpathSync } from 'node:fs';
import { providerFor } from '../disk/provider.js';
import { type DiskDescription, readDisk } from '../disk/read.js';
import { ready } from '../disk/ready.js';
import { ServedDisk, type ServedDiskOptions } from '../disk/served-disk.js';
import { engine } from '../engine/engine.js';
import { fail } from '../errors.js';
import type { Log } from '../log.js';
import {
  NBD_FLAG_CAN_MULTI_CONN,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_SEND_FAST_ZERO,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES,
} from '../nbd/constants.js';
import { type Export, type ListenAddress, startServer, type TransmitArgs } from '../nbd/server.js';
import { serveControl, statusOf } from './control.js';
import { type AttachmentState, type AttachRequest, removeFolder, takeLock, writeState } from './state.js';

export interface ServeOptions extends ServedDiskOptions {
  readonly path: string;
  readonly poolDir: string;
  readonly listen: ListenAddress;
  readonly exportName: string;
  /** Key URI that the disk must be wrapped by; null: whatever it names. */
  readonly expectedKey: string | null;
  readonly logLevel: string;
}

export interface Serving {
  /** NBD URI of the export. */
  readonly uri: string;
  /** Ends the listener, then the connections; what is in flight is answered first. */
  close(): Promise<void>;
}

type End = () => unknown;

/** Serves the disk until closed. Fails with DISK_*, LUKS2_*, KMS_* or NBD_ADDRESS; then nothing is left behind. */
export async function serve(options: ServeOptions, log: Log): Promise<Serving> {
  engine().protectProcess({ lockMemory: false, oomScoreAdj: 0 });
  const disk = await readDisk(options.path);
  const ends: End[] = [];
  try {
    const uri = await start(options, disk, log, ends);
    return { uri, close: () => endAll(ends) };
  } catch (error) {
    await endAll(ends).catch((late) => log.error({ event: 'close_failed', err: late }, 'close'));
    throw error;
  }
}

/** The last begun ends first; each is ended, whatever became of the others. */
async function endAll(ends: End[]): Promise<void> {
  const failures: unknown[] = [];
  for (let end = ends.pop(); end; end = ends.pop()) {
    try {
      await end();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}

/** Puts the disk into service, `ends` growing with what is to be undone. The URI of the export. */
async function start(options: ServeOptions, found: DiskDescription, log: Log, ends: End[]): Promise<string> {
  const { uuid } = found.header;
  const lock = takeLock(uuid);
  if (!lock) fail('DISK_IN_USE', { path: options.path });
  ends.push(lock.release, () => removeFolder(uuid));
  const provider = await providerFor(found, { ...options, env: process.env }, log);
  const disk = await ready(found, provider, options, log);
  const served = await ServedDisk.open(disk, provider, options, log);
  ends.push(() => served.close());
  const control = await serveControl(uuid, async (request) => {
    if (request.verb === 'status') return statusOf(served);
    return fail('ATTACH_NOT_ATTACHED', { target: options.path });
  });
  ends.push(() => control.close());
  const server = await startServer({
    listen: options.listen,
    exports: () => [exportOf(options, disk.token.name, disk.sizeBytes, disk.sectorSize)],
    transmit: (args) => transmit(served, options, log, args),
    onEvent: (event) => log.debug(event, 'nbd'),
  });
  ends.push(() => server.close());
  const uri = uriOf(options, server.address);
  await writeState(stateOf(options, disk, uri));
  return uri;
}

/** Gives a client's socket to the engine. */
function transmit(served: ServedDisk, options: ServeOptions, log: Log, { fd, rest, peer }: TransmitArgs) {
  const { uuid } = served.disk.header;
  log.info({ event: 'connected', peer, uuid }, 'a client began');
  const connection = served.engineDisk.serve({ fd, rest, readOnly: options.readOnly });
  connection.ended.then((end) => log.info({ event: 'disconnected', peer, uuid, ...end }, 'a client ended'));
  return connection;
}

const stateOf = (options: ServeOptions, disk: DiskDescription, uri: string): AttachmentState => ({
  request: requestOf(options, disk.header.uuid),
  index: null,
  device: null,
  address: uri,
  serverPid: process.pid,
  keyUri: disk.token.keyUri,
  keyId: disk.token.keyId,
  name: disk.token.name,
  sizeBytes: `${disk.sizeBytes}`,
  attachedAt: new Date().toISOString(),
});

/** NBD URI of the export (NetworkBlockDevice/nbd, doc/uri.md). */
function uriOf(options: ServeOptions, address: string): string {
  const name = encodeURIComponent(options.exportName);
  if ('path' in options.listen)
    return `nbd+unix:///${name}?socket=${address.split('/').map(encodeURIComponent).join('/')}`;
  return `nbd://${address}/${name}`;
}

const ALWAYS = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_CAN_MULTI_CONN;
const WRITABLE = NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_FAST_ZERO;
const MAXIMUM_BLOCK_BYTES = 32 * 1024 * 1024;

function exportOf(options: ServeOptions, name: string, sizeBytes: bigint, sectorSize: number): Export {
  return {
    name: options.exportName,
    description: name,
    sizeBytes,
    transmissionFlags: ALWAYS | (options.readOnly ? NBD_FLAG_READ_ONLY : WRITABLE),
    minimumBlockSize: 1,
    preferredBlockSize: Math.max(sectorSize, 4096),
    maximumBlockSize: MAXIMUM_BLOCK_BYTES,
    contexts: [],
  };
}

const requestOf = (options: ServeOptions, uuid: string): AttachRequest => ({
  path: realpathSync(options.path),
  uuid,
  poolDir: options.poolDir,
  index: null,
  readOnly: options.readOnly,
  direct: options.direct,
  discard: options.discard,
  expectedKey: options.expectedKey,
  onKeyLoss: options.terms.onKeyLoss,
  checkIntervalMs: options.terms.checkIntervalMs,
  graceMs: Number.isFinite(options.terms.graceMs) ? options.terms.graceMs : null,
  kmsWaitMs: options.kmsWaitMs,
  logLevel: options.logLevel,
});
