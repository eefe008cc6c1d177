/** A disk in a folder of its test, opened through the engine, and clients of it. */

import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Connection, type DiskOptions, type EngineDisk, engine } from '#sealdisk/engine/engine.js';
import { RawClient } from './raw-client.js';

export const OFFSET = 1 << 20;
export const SIZE = 4 << 20;

export function diskFile(dir: string): DiskOptions {
  const path = join(dir, 'disk');
  writeFileSync(path, '');
  truncateSync(path, OFFSET + SIZE);
  return { path, offsetBytes: BigInt(OFFSET), sizeBytes: BigInt(SIZE), sectorSize: 4096, readOnly: false };
}

export function connect(disk: EngineDisk): { client: RawClient; connection: Connection } {
  const [ours, theirs] = engine().socketPair();
  const connection = disk.serve({ fd: ours, readOnly: false });
  engine().closeFd(ours);
  return { client: new RawClient(theirs), connection };
}

/** Awaits a condition; fails after `timeoutMs`. */
export async function eventually(holds: () => boolean, timeoutMs = 10_000): Promise<void> {
  const end = Date.now() + timeoutMs;
  while (!holds()) {
    if (Date.now() > end) throw new Error('the condition did not come true');
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
