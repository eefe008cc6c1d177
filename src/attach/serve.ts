/**
 * A disk on a socket: `sealdisk serve`, for any NBD client.
 *
 * The handshake is src/nbd; when transmission begins the socket goes to the engine. The process is recorded as an
 * attachment without a device, so that `list` shows it and disabling its key names it. SIGTERM and SIGINT drain.
 */

import { realpathSync } from 'node:fs';
import { readDisk } from '../disk/read.js';
import { ServedDisk, type ServedDiskOptions } from '../disk/served-disk.js';
import { engine } from '../engine/engine.js';
import { fail } from '../errors.js';
import { openProvider } from '../kms/registry.js';
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
import { type Export, type ListenAddress, startServer } from '../nbd/server.js';
import { serveControl, statusOf } from './control.js';
import { type AttachRequest, prepareFolder, removeFolder, takeLock, writeState } from './state.js';

export interface ServeOptions extends ServedDiskOptions {
  readonly path: string;
  readonly poolDir: string;
  readonly listen: ListenAddress;
  readonly exportName: string;
  readonly logLevel: string;
}

export interface Serving {
  /** NBD URI of the export. */
  readonly uri: string;
  /** Ends the listener, then the connections; what is in flight is answered first. */
  close(): Promise<void>;
}

/** Serves the disk until closed. Fails with DISK_*, LUKS2_*, KMS_* or NBD_ADDRESS. */
export async function serve(options: ServeOptions, log: Log): Promise<Serving> {
  engine().protectProcess({ lockMemory: false, oomScoreAdj: 0 });
  const disk = await readDisk(options.path);
  const { uuid } = disk.header;
  prepareFolder(uuid);
  const unlock = takeLock(uuid);
  if (!unlock) fail('DISK_IN_USE', { path: options.path });
  const provider = await openProvider(disk.token.keyUri, { poolDir: options.poolDir, env: process.env });
  const served = await ServedDisk.open(disk, provider, options, log);
  const server = await startServer({
    listen: options.listen,
    exports: () => [exportOf(options, disk.token.name, disk.sizeBytes, disk.sectorSize)],
    transmit: ({ fd, rest, peer }) => {
      log.info({ event: 'connected', peer, uuid }, 'a client began');
      const connection = served.engineDisk.serve({ fd, rest, readOnly: options.readOnly });
      connection.ended.then((end) =>
        log.info({ event: 'disconnected', peer, uuid, ...end }, 'a client ended'),
      );
      return connection;
    },
    onEvent: (event) => log.debug(event, 'nbd'),
  }).catch(async (error) => {
    await served.close();
    throw error;
  });
  const control = await serveControl(uuid, async (request) => {
    if (request.verb === 'status') return statusOf(served);
    return fail('ATTACH_NOT_ATTACHED', { target: options.path });
  });
  const uri = uriOf(options, server.address);
  await writeState({
    request: requestOf(options, uuid),
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
  return {
    uri,
    close: async () => {
      await server.close();
      await served.close();
      control.close();
      removeFolder(uuid);
      unlock();
    },
  };
}

/** NBD URI of the export (NetworkBlockDevice/nbd, doc/uri.md). */
function uriOf(options: ServeOptions, address: string): string {
  const name = encodeURIComponent(options.exportName);
  if ('path' in options.listen) return `nbd+unix:///${name}?socket=${encodeURI(address)}`;
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
  };
}

const requestOf = (options: ServeOptions, uuid: string): AttachRequest => ({
  path: realpathSync(options.path),
  uuid,
  poolDir: options.poolDir,
  index: null,
  readOnly: options.readOnly,
  direct: options.direct,
  onKeyLoss: options.terms.onKeyLoss,
  checkIntervalMs: options.terms.checkIntervalMs,
  graceMs: Number.isFinite(options.terms.graceMs) ? options.terms.graceMs : null,
  kmsWaitMs: options.kmsWaitMs,
  logLevel: options.logLevel,
});
