/** A pool with its embedded KMS, disks in it, and what the room does with them; in this process. */

import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import pino from 'pino';
import type { Test } from 'tap';
import { createDisk } from '#sealdisk/disk/create.js';
import { readDisk } from '#sealdisk/disk/read.js';
import { LocalKms } from '#sealdisk/kms/local/local-kms.js';
import { openProvider } from '#sealdisk/kms/registry.js';
import { writeHeader } from '#sealdisk/luks2/copies.js';
import type { Luks2Header } from '#sealdisk/luks2/header.js';
import { tempPool } from '../kms/pool.js';

export const KEY_URI = 'local:alias/bar';
export const TIMEOUT_MS = 10_000;
export const SILENT = pino({ level: 'silent' });

export async function diskRig(t: Test) {
  const poolDir = await tempPool(t);
  const kms = LocalKms.open(join(poolDir, 'kms'));
  await kms.createKey({ alias: 'alias/bar' });
  const provider = () => openProvider(KEY_URI, { poolDir, env: {} });
  const at = (name: string) => join(poolDir, name);
  return {
    poolDir,
    at,
    kms,
    provider,
    create: async (name: string, discard = false) => {
      const disk = {
        path: at(name),
        sizeBytes: 1n << 20n,
        sectorSize: 4096,
        name,
        tags: {},
        discard,
      } as const;
      await createDisk(disk, await provider(), TIMEOUT_MS);
      return readDisk(at(name));
    },
  };
}

/** Writes `header` with checksums that are right, as a thief of the file would. */
export async function plant(path: string, header: Luks2Header): Promise<void> {
  const fd = openSync(path, 'r+');
  try {
    await writeHeader(fd, path, header);
  } finally {
    closeSync(fd);
  }
}
