/** What a disk that nobody serves holds, for tests to compare. */

import { closeSync, openSync, readFileSync, rmSync } from 'node:fs';
import { unwrapDataKey } from '#sealdisk/disk/envelope.js';
import type { DiskDescription } from '#sealdisk/disk/read.js';
import { transform } from '#sealdisk/engine/transform.js';
import { openProvider } from '#sealdisk/kms/registry.js';
import { TIMEOUT_MS } from './rig.js';

/** What the disk holds in the clear, by its own key. */
export async function plaintextOf(disk: DiskDescription, poolDir: string): Promise<Buffer> {
  const provider = await openProvider(disk.token.keyUri, { poolDir, env: {} });
  const key = await unwrapDataKey(disk.header, provider, { timeoutMs: TIMEOUT_MS });
  const [from, to] = [openSync(disk.path, 'r'), openSync(`${disk.path}.clear`, 'w+')];
  const side = (fd: number, offsetBytes: bigint) => ({
    path: '',
    fd,
    offsetBytes,
    sectorSize: disk.sectorSize,
  });
  await transform({
    work: 'copy',
    from: { ...side(from, disk.offsetBytes), key, holes: disk.holes },
    to: side(to, 0n),
    beginBytes: 0n,
    sizeBytes: disk.sizeBytes,
  }).done;
  key.wipe();
  closeSync(from);
  closeSync(to);
  await provider.close();
  const bytes = readFileSync(`${disk.path}.clear`);
  rmSync(`${disk.path}.clear`);
  return bytes;
}
