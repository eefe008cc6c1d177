/**
 * N requests in flight at the client are N operations in flight at the disk, past the page cache: reads and writes, over
 * io_uring and over the worker pool. What lies under the disk is held, and the kernel tells how many it has not answered.
 *
 * There are 128, which is what the kernel's own device sends at once. Nothing is timed: they are held until they are counted.
 */

import { readFileSync, statSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { engine } from '#sealdisk/engine/engine.js';
import { NbdClient } from './crash-client.js';
import { loopDevice, MappedDevice, MIB } from './devices.js';
import { newDisk, run, until } from './rig.js';
import { openServed } from './serve-here.js';

t.setTimeout(180_000);

const BLOCK_BYTES = 4096;
/** Of reads, and as many of writes. */
const DEPTH = 64;
const DATA_BYTES = MIB;
const FILE_BYTES = 16 * MIB + DATA_BYTES;
const COUNTED_MS = 20_000;

/** What a block device has not answered (Documentation/block/stat.rst); a mapped one counts only when it is told to. */
function inFlightOf(path: string): () => { read: number; write: number } {
  const { rdev } = statSync(path);
  const told = `/sys/dev/block/${(rdev >> 8) & 0xfff}:${(rdev & 0xff) | ((rdev >> 12) & 0xfff00)}`;
  writeFileSync(`${told}/queue/iostats`, '1');
  return () => {
    const [read, write] = readFileSync(`${told}/inflight`, 'utf8').trim().split(/\s+/);
    return { read: Number(read), write: Number(write) };
  };
}

// A disk on a device that counts, over one that can be held.
const under = new MappedDevice(t, FILE_BYTES, `linear ${loopDevice(t, FILE_BYTES)} 0`);
const { path } = new MappedDevice(t, FILE_BYTES, `linear ${under.path} 0`);
const disk = await newDisk(BLOCK_BYTES, BigInt(DATA_BYTES));
run('dd', `if=${disk.path}`, `of=${path}`, 'bs=1M', 'conv=fsync', 'status=none');
const inFlight = inFlightOf(path);

/** A client of the disk, which is opened with --direct. */
async function clientOf(t: Test, io: string): Promise<NbdClient> {
  process.env.SEALDISK_IO = io;
  const served = await openServed(path, true);
  delete process.env.SEALDISK_IO;
  const [ours, theirs] = engine().socketPair();
  served.engineDisk.serve({ fd: ours, readOnly: false });
  engine().closeFd(ours);
  const client = new NbdClient(theirs);
  t.teardown(async () => {
    client.destroy();
    await served.close();
  });
  return client;
}

for (const io of ['ring', 'pool']) {
  t.test(`as many operations at the disk as requests, through the ${io}`, async (t) => {
    const client = await clientOf(t, io);
    const block = Buffer.alloc(BLOCK_BYTES, 7);
    under.hold();
    const answers = Array.from({ length: DEPTH }, (_, i) => [
      client.read(i * BLOCK_BYTES, BLOCK_BYTES),
      client.write((DEPTH + i) * BLOCK_BYTES, block),
    ]);
    const all = () => inFlight().read + inFlight().write >= 2 * DEPTH;
    // What does not come is told by the comparison.
    await until('all to be there', all, COUNTED_MS).catch(() => {});
    t.same(inFlight(), { read: DEPTH, write: DEPTH });
    under.release();
    await Promise.all(answers.flat());
  });
}
