/** src/attach/snapshot.ts against src/attach/snapshots.ts over a control socket: what is asked while a disk is written. */

import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type ControlRequest, serveControl } from '#sealdisk/attach/control.js';
import { snapshotServed } from '#sealdisk/attach/snapshot.js';
import { Snapshots } from '#sealdisk/attach/snapshots.js';
import { prepareFolder, snapshotsPath } from '#sealdisk/attach/state.js';
import { engine } from '#sealdisk/engine/engine.js';
import { fail } from '#sealdisk/errors.js';
import { openLog } from '#sealdisk/log.js';
import { connect, diskFile, eventually, OFFSET, SIZE } from '../engine/rig.js';

const UUID = '5ea1d15c-0000-4000-8000-000000000007';
const BLOCK = 64 * 1024;
/** So much more is there to copy that a copy does not end before it is cancelled. */
const FILL = 64 << 20;
const log = openLog('silent');

/** A plain disk that a writer fills, block by block and again and again, each time with the next number. */
async function served(t: Test) {
  const dir = mkdtempSync(join(tmpdir(), 'snapshots-')); // short: a socket's path is
  t.teardown(() => rmSync(dir, { recursive: true }));
  process.env.SEALDISK_RUN = dir;
  prepareFolder(UUID);
  const options = { ...diskFile(dir), plain: true };
  writeFileSync(options.path, Buffer.alloc(FILL, 1), { flag: 'a' }); // behind the disk: copied, too, and not written
  const disk = engine().openDisk(options);
  disk.goLive();
  const snapshots = await Snapshots.open(disk, UUID, log, false);
  const handle = async (request: ControlRequest) => {
    if (request.verb === 'status') return {};
    if (request.verb.startsWith('snapshot')) return snapshots.handle(request as never);
    return fail('INTERNAL', { what: request.verb });
  };
  const control = await serveControl(UUID, handle);
  const { client } = connect(disk);
  const progress = { acknowledged: 0, stop: false };
  const load = (async () => {
    for (let n = 1; !progress.stop; n++) {
      await client.write(((n - 1) * BLOCK) % SIZE, Buffer.alloc(BLOCK, `${n} `));
      progress.acknowledged = n;
    }
  })();
  const end = async () => {
    progress.stop = true;
    await load;
    await snapshots.close();
    control.close();
    await disk.close();
  };
  t.teardown(end);
  return { disk, path: options.path, snapshots, progress };
}

/** How many writes are in the file: all up to that number, and none beyond. */
function writesIn(path: string): number {
  const payload = readFileSync(path).subarray(OFFSET, OFFSET + SIZE);
  const blocks = Array.from({ length: SIZE / BLOCK }, (_, i) => payload.subarray(i * BLOCK, (i + 1) * BLOCK));
  const numbers = blocks.map((block) =>
    block[0] === 0 ? 0 : Number.parseInt(block.toString('latin1', 0, 12), 10),
  );
  const last = Math.max(...numbers);
  for (const [i, block] of blocks.entries()) {
    const turns = Math.floor((last - 1 - i) / numbers.length);
    const n = turns < 0 ? 0 : turns * numbers.length + i + 1;
    if (!block.equals(n === 0 ? Buffer.alloc(BLOCK) : Buffer.alloc(BLOCK, `${n} `))) return Number.NaN;
  }
  return last;
}

t.test('three snapshots under load are each the disk of one instant', async (t) => {
  const { path, progress } = await served(t);
  const held: number[] = [];
  const one = async (name: string) => {
    const before = progress.acknowledged;
    let answered = 0;
    const bytes: bigint[] = [];
    const { heldMs, how } = await snapshotServed(UUID, `${path}-${name}`, {
      onTaken: () => {
        answered = progress.acknowledged;
      },
      onProgress: ({ copiedBytes }) => bytes.push(copiedBytes),
    });
    held.push(heldMs);
    const found = writesIn(`${path}-${name}`);
    t.equal(how, 'copy');
    t.ok(before <= found && found <= answered + 1, `${before} <= ${found} <= ${answered} + 1`);
    t.same(
      bytes,
      [...bytes].sort((a, b) => Number(a - b)),
    );
  };
  await eventually(() => progress.acknowledged > 100);
  await Promise.all([one('a'), one('b'), one('c')]);
  t.ok(held.every((ms) => ms > 0));
  t.comment(`held for ${held.map((ms) => ms.toFixed(2)).join(', ')} ms`);
  t.same(
    readdirSync(snapshotsPath(UUID)).filter((name) => name.endsWith('.map')),
    [],
  );
});

t.test('what cannot be, and what is cancelled, leaves no file and ends no write', async (t) => {
  const { path, progress, snapshots } = await served(t);
  writeFileSync(`${path}-there`, 'mine');
  await t.rejects(snapshotServed(UUID, `${path}-there`), { code: 'DISK_IO', facts: { errno: 'EEXIST' } });
  await t.rejects(snapshotServed(UUID, `${path}-there`, { mode: 'copy' }), {
    code: 'DISK_IO',
    facts: { errno: 'EEXIST' },
  });
  t.equal(readFileSync(`${path}-there`, 'utf8'), 'mine');
  await t.rejects(snapshotServed(UUID, join(path, 'below'), { mode: 'copy' }), { code: 'DISK_IO' });
  const nobody = UUID.replace('5', '6');
  await t.rejects(snapshotServed(nobody, `${path}-x`), { code: 'ATTACH_NOT_ATTACHED' });
  const abort = new AbortController();
  const cancelled = snapshotServed(UUID, `${path}-c`, {
    mode: 'copy',
    signal: abort.signal,
    onTaken: () => abort.abort(),
  });
  await t.rejects(cancelled, { code: 'DISK_IO', facts: { errno: 'ECANCELED' } });
  t.notOk(existsSync(`${path}-c`));
  t.equal(snapshots.running, 0);
  const before = progress.acknowledged;
  await eventually(() => progress.acknowledged > before + 10);
});

t.test(
  'what a server left running is failed by one that does not take over, and its file goes',
  async (t) => {
    const { disk, path } = await served(t);
    const id = randomBytes(10).toString('hex');
    const partial = `${path}-partial`;
    writeFileSync(partial, 'half');
    const record = { state: 'running', path: partial, heldMs: 1, error: null };
    writeFileSync(join(snapshotsPath(UUID), `${id}.json`), JSON.stringify(record));
    const next = await Snapshots.open(disk, UUID, log, false);
    t.match(next.status(id), { state: 'failed', error: { code: 'DISK_IO', facts: { errno: 'ESTALE' } } });
    t.notOk(existsSync(partial));
  },
);
