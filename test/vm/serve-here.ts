/** A disk served by the test process itself: what `sealdisk serve` does, without the start of a process, which is dear in a guest. */

import type { Test } from 'tap';
import { readDisk } from '#sealdisk/disk/read.js';
import { ServedDisk } from '#sealdisk/disk/served-disk.js';
import { isFailure } from '#sealdisk/errors.js';
import { openProvider } from '#sealdisk/kms/registry.js';
import { openLog } from '#sealdisk/log.js';
import {
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_WRITE_ZEROES,
} from '#sealdisk/nbd/constants.js';
import { startServer } from '#sealdisk/nbd/server.js';
import { poolDir } from './rig.js';

const FLAGS = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_WRITE_ZEROES;
let made = 0;

export interface Here {
  readonly uri: string;
  readonly served: ServedDisk;
  /** Ends it; false when the disk could not store what it had taken. Twice is fine. */
  stop(): Promise<boolean>;
}

/** Opens the disk with its key; the caller closes it. */
export async function openServed(path: string, direct = false, readOnly = false): Promise<ServedDisk> {
  const disk = await readDisk(path);
  const provider = await openProvider(disk.token.keyUri, { poolDir, env: process.env });
  const terms = { onKeyLoss: 'hang', checkIntervalMs: 5_000, graceMs: Number.POSITIVE_INFINITY } as const;
  const options = { terms, readOnly, direct, discard: false, kmsWaitMs: 1_000, takeover: false };
  return ServedDisk.open(disk, provider, options, openLog('silent'));
}

/** Serves the disk until the test ends. */
export async function serveHere(t: Test, path: string, direct = false): Promise<Here> {
  const served = await openServed(path, direct);
  const socket = `/run/here-${process.pid}-${made++}.sock`;
  const server = await startServer({
    listen: { path: socket },
    exports: () => [
      {
        name: '',
        description: '',
        sizeBytes: served.disk.sizeBytes,
        transmissionFlags: FLAGS,
        minimumBlockSize: 1,
        preferredBlockSize: 4096,
        maximumBlockSize: 32 << 20,
        contexts: [],
      },
    ],
    transmit: ({ fd, rest }) => served.engineDisk.serve({ fd, rest, readOnly: false }),
  });
  let stable: Promise<boolean> | undefined;
  const stop = async () => {
    await server.close();
    try {
      await served.close();
      return true;
    } catch (error) {
      if (isFailure(error, 'DISK_IO')) return false;
      throw error;
    }
  };
  const once = () => {
    stable ??= stop();
    return stable;
  };
  t.teardown(once);
  return { uri: `nbd+unix:///?socket=${socket}`, served, stop: once };
}
