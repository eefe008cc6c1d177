/** What differs between two of one chain, and the same for NBD clients that nobody here wrote. */

import { randomBytes } from 'node:crypto';
import { closeSync, openSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import t from 'tap';
import { derive } from '#sealdisk/disk/derive.js';
import { changedRanges } from '#sealdisk/disk/diff.js';
import { readObject } from '#sealdisk/disk/object.js';
import { createPlain } from '#sealdisk/disk/plain.js';
import { rig, run } from '../cli/rig.js';
import { diskRig } from './rig.js';

t.setTimeout(60_000);

const KIB = 1024;
const MIB = 1024 * KIB;

const plainly = (ranges: Awaited<ReturnType<typeof changedRanges>>) =>
  ranges.map(({ offsetBytes, sizeBytes }) => [Number(offsetBytes), Number(sizeBytes)]);

t.test('tells the granules that differ, and nothing of what both leave out', async (t) => {
  const { at } = await diskRig(t);
  const size = 40 * MIB + 512;
  for (const name of ['old', 'new']) {
    await createPlain({ path: at(`${name}.raw`), kind: 'disk', name, source: '', tags: {} }, BigInt(size));
    const fd = openSync(at(`${name}.raw`), 'r+');
    writeSync(fd, Buffer.alloc(MIB, 7), 0, MIB, 4 * MIB);
    closeSync(fd);
  }
  const differ = async () =>
    plainly(await changedRanges(await readObject(at('old.raw')), await readObject(at('new.raw'))));
  t.same(await differ(), []);
  const fd = openSync(at('new.raw'), 'r+');
  writeSync(fd, 'x', 4 * MIB + 64 * KIB);
  writeSync(fd, 'x', 30 * MIB - 1);
  writeSync(fd, 'xx', 33 * MIB - 1);
  writeSync(fd, 'x', size - 1);
  closeSync(fd);
  t.same(await differ(), [
    [4 * MIB + 64 * KIB, 64 * KIB],
    [30 * MIB - 64 * KIB, 64 * KIB],
    [33 * MIB - 64 * KIB, 128 * KIB],
    [40 * MIB, 512],
  ]);
  truncateSync(at('new.raw'), 41 * MIB);
  t.same((await differ()).at(-1), [40 * MIB, MIB], 'what is more is changed');
});

t.test('two that share no data key are refused', async (t) => {
  const { at, create, provider } = await diskRig(t);
  await create('one');
  await create('two');
  const [one, two] = [await readObject(at('one')), await readObject(at('two'))];
  await t.rejects(changedRanges(one, two), { code: 'DISK_COMPARE', message: /data key of its own/ });
  writeFileSync(at('plain.raw'), randomBytes(MIB));
  await t.rejects(changedRanges(one, await readObject(at('plain.raw'))), { code: 'DISK_COMPARE' });
  const made = { path: at('s'), kind: 'snapshot', name: 's', source: '', tags: {} } as const;
  const snapshot = await derive(one, made, await provider());
  t.same(await changedRanges(snapshot, one), []);
});

t.test('clients of QEMU and libnbd read it as a dirty bitmap', async (t) => {
  const { at, json, sealdisk, serve } = rig(t);
  await json('key', 'create', '--alias', 'bar');
  await json('create', 'data', '--size', '8M', '--key', 'alias/bar');
  await json('snapshot', 'create', 'data', '--name', 'monday');
  const writing = await serve('data', '--socket', at('s'));
  const wrote = await run('qemu-io', ['-f', 'raw', '-c', 'write 1M 64k', '-c', 'write 3M 200k', writing.uri]);
  t.equal(wrote.code, 0, wrote.err);
  await writing.stop();
  await json('snapshot', 'create', 'data', '--name', 'tuesday');
  const ranges = await json('snapshot', 'diff', 'monday', 'tuesday');
  t.same(ranges, [
    { offsetBytes: `${MIB}`, sizeBytes: `${64 * KIB}` },
    { offsetBytes: `${3 * MIB}`, sizeBytes: `${256 * KIB}` },
  ]);
  t.match(await sealdisk('serve', 'data', '--changed-since', 'monday', '--socket', at('x')), { code: 2 });

  const server = await serve('tuesday', '--changed-since', 'monday', '--socket', at('s'));
  const context = 'qemu:dirty-bitmap:monday';
  const map = await run('nbdinfo', ['--json', `--map=${context}`, server.uri]);
  t.same(
    JSON.parse(map.out).map(({ offset, length, type }: Record<string, number>) => [offset, length, type]),
    [
      [0, MIB, 0],
      [MIB, 64 * KIB, 1],
      [MIB + 64 * KIB, 2 * MIB - 64 * KIB, 0],
      [3 * MIB, 256 * KIB, 1],
      [3 * MIB + 256 * KIB, 5 * MIB - 256 * KIB, 0],
    ],
    map.err,
  );
  const image = `driver=nbd,server.type=unix,server.path=${at('s')},x-dirty-bitmap=${context}`;
  const seen = await run('qemu-img', ['map', '--output=json', '--image-opts', image]);
  const dirty = JSON.parse(seen.out).filter(({ data }: { data: boolean }) => !data);
  t.same(
    dirty.map(({ start, length }: Record<string, number>) => [start, length]),
    [
      [MIB, 64 * KIB],
      [3 * MIB, 256 * KIB],
    ],
    'qemu-img shows what is dirty as if it were not there',
  );
  t.equal((await server.stop()).code, 0);
});
