/** A disk with holes under clients that nobody here wrote: qemu-img, nbdcopy, nbdinfo, nbdsh and nbdfuse agree on where they are. */

import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, ftruncateSync, mkdirSync, openSync, readFileSync, statSync, writeSync } from 'node:fs';
import t, { type Test } from 'tap';
import { type Rig, rig, run, type Serving, until } from '../cli/rig.js';

t.setTimeout(280_000);

const MIB = 1 << 20;
const KIB = 1024;

async function ok(program: string, ...args: string[]): Promise<string> {
  const { code, out, err } = await run(program, args);
  if (code !== 0) throw new Error(`${program} ${args.join(' ')}: ${code}\n${out}${err}`);
  return out;
}

/** 16 MiB of which only the MiB at 1 and the one at 9 are there. */
function sparse({ at }: Rig, name: string): string {
  const fd = openSync(at(name), 'wx');
  ftruncateSync(fd, 16 * MIB);
  for (const mib of [1, 9]) writeSync(fd, randomBytes(MIB), 0, MIB, mib * MIB);
  closeSync(fd);
  return at(name);
}

const allocatedBytes = (path: string): number => statSync(path).blocks * 512;

async function holed(t: Test): Promise<{ r: Rig; disk: string; server: Serving }> {
  const r = rig(t);
  const disk = await r.disk('bar', '--discard');
  return { r, disk, server: await r.serve(disk, '--socket', r.at('s'), '--discard') };
}

interface Extent {
  readonly start: number;
  readonly length: number;
  readonly data: boolean;
}

const qemuMap = async (uri: string): Promise<Extent[]> =>
  JSON.parse(await ok('qemu-img', 'map', '-f', 'raw', '--output=json', uri));
const data = (extents: readonly Extent[]): number[][] =>
  extents.filter((extent) => extent.data).map(({ start, length }) => [start / MIB, length / MIB]);

t.test('qemu-img converts a sparse image without writing its holes out, and maps them', async (t) => {
  const { r, disk, server } = await holed(t);
  const image = sparse(r, 'image');
  const before = allocatedBytes(disk);
  await ok('qemu-img', 'convert', '-n', '--target-is-zero', '-f', 'raw', '-O', 'raw', image, server.uri);
  t.ok(allocatedBytes(disk) - before < 3 * MIB, `${allocatedBytes(disk) - before} bytes for 2 MiB`);
  t.match(await ok('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', image, server.uri), 'identical');
  t.same(data(await qemuMap(server.uri)), [
    [1, 1],
    [9, 1],
  ]);
  await ok('qemu-io', '-f', 'raw', '-c', 'write -P 7 0 16M', server.uri);
  t.ok(allocatedBytes(disk) - before >= 16 * MIB, 'the disk is full');
  await ok('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', image, server.uri);
  t.match(await ok('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', image, server.uri), 'identical');
  t.ok(allocatedBytes(disk) - before < 3 * MIB, 'zeroes over data give their room back');
  t.match(await server.stop(), { code: 0 });
});

t.test('nbdcopy keeps holes in both directions, with 1 and with 4 connections', async (t) => {
  const { r, disk, server } = await holed(t);
  const image = sparse(r, 'image');
  const before = allocatedBytes(disk);
  await ok('nbdcopy', '--destination-is-zero', '--connections=1', image, server.uri);
  t.ok(allocatedBytes(disk) - before < 3 * MIB);
  for (const connections of ['1', '4']) {
    await ok('nbdcopy', `--connections=${connections}`, server.uri, r.at(`back${connections}`));
    t.ok(readFileSync(r.at(`back${connections}`)).equals(readFileSync(image)));
    t.ok(allocatedBytes(r.at(`back${connections}`)) < 3 * MIB, 'the copy is sparse');
  }
  await ok('nbdcopy', '--allocated', '--connections=4', image, server.uri);
  t.ok(allocatedBytes(disk) - before >= 16 * MIB, 'with --allocated zeroes take their room');
  t.match(await server.stop(), { code: 0 });
});

t.test('nbdinfo maps, sizes and judges what the disk can do', async (t) => {
  const { r, server } = await holed(t);
  await ok('nbdcopy', '--destination-is-zero', sparse(r, 'image'), server.uri);
  t.same(
    JSON.parse(await ok('nbdinfo', '--map', '--json', server.uri)).map(
      ({ offset, length, type }: Record<'offset' | 'length' | 'type', number>) => [
        offset / MIB,
        length / MIB,
        type,
      ],
    ),
    [
      [0, 1, 3],
      [1, 1, 0],
      [2, 7, 3],
      [9, 1, 0],
      [10, 6, 3],
    ],
  );
  t.equal(await ok('nbdinfo', '--size', server.uri), `${16 * MIB}\n`);
  for (const can of ['cache', 'df', 'fast-zero', 'flush', 'fua', 'multi-conn', 'trim', 'write', 'zero']) {
    t.match(await run('nbdinfo', ['--can', can, server.uri]), { code: 0 }, can);
  }
  t.match(await run('nbdinfo', ['--is', 'read-only', server.uri]), { code: 2 });
  const { exports } = JSON.parse(await ok('nbdinfo', '--list', '--json', server.uri));
  t.same(exports[0].contexts.sort(), ['base:allocation', 'sealdisk:key-state']);
  t.match(await server.stop(), { code: 0 });
});

t.test('libnbd reads structured chunks, with DF one, and hears of the key as of the holes', async (t) => {
  const { server } = await holed(t);
  const out = await ok(
    'nbdsh',
    '-c',
    `
h.add_meta_context("base:allocation")
h.add_meta_context("sealdisk:key-state")
h.connect_uri("${server.uri}")
h.pwrite(b"d" * 65536, 65536)
chunks = []
def chunk(buf, offset, status, error):
    chunks.append((offset // 1024, len(buf) // 1024, {1: "data", 2: "hole"}[status]))
got = h.pread_structured(256 << 10, 0, chunk)
print(got == bytes(65536) + b"d" * 65536 + bytes(131072), sorted(chunks))
chunks.clear()
h.pread_structured(256 << 10, 0, chunk, nbd.CMD_FLAG_DF)
print(chunks)
told = {}
def extent(name, offset, entries, error):
    told[name] = [(entries[i] // 1024, entries[i + 1]) for i in range(0, len(entries), 2)]
h.block_status(256 << 10, 0, extent)
print(told["base:allocation"], len(told["sealdisk:key-state"]))
told.clear()
h.block_status(1 << 20, 65536, extent, nbd.CMD_FLAG_REQ_ONE)
print(told["base:allocation"])
h.cache(1 << 20, 0)
h.zero(65536, 65536, nbd.CMD_FLAG_FAST_ZERO)
h.zero(65536, 131072, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
told.clear()
h.block_status(256 << 10, 0, extent)
print(told["base:allocation"], h.pread(256 << 10, 0) == bytes(256 << 10))
`,
  );
  t.same(out.split('\n'), [
    "True [(0, 64, 'hole'), (64, 64, 'data'), (128, 128, 'hole')]",
    "[(0, 256, 'data')]",
    '[(64, 3), (64, 0), (128, 3)] 1',
    '[(64, 0)]',
    '[(256, 3)] True',
    '',
  ]);
  t.match(await server.stop(), { code: 0 });
});

t.test('qemu-io zeroes with and without unmapping, discards, and writes many at a time', async (t) => {
  const { disk, server } = await holed(t);
  const io = (...commands: string[]) =>
    ok('qemu-io', '-f', 'raw', '-d', 'unmap', ...commands.flatMap((command) => ['-c', command]), server.uri);
  await io('aio_write -P 5 0 4M', 'aio_write -P 5 4M 4M', 'aio_flush', 'write -f -P 5 8M 512', 'flush');
  const full = allocatedBytes(disk);
  await io('write -z 0 1M', 'flush');
  t.ok(allocatedBytes(disk) > full - MIB / 2, 'zeroes that may not unmap keep their room');
  await io('write -z -u 1M 1M', 'discard 2M 1M', 'flush');
  t.ok(allocatedBytes(disk) <= full - 2 * MIB + 64 * KIB, 'the others give it back');
  await io('read -P 0 0 3M', 'read -P 5 3M 5M', 'read -P 5 8M 512');
  t.match(await server.stop(), { code: 0 });
});

t.test('nbdfuse shows the disk as a file that other programs write', async (t) => {
  const { r, server } = await holed(t);
  mkdirSync(r.at('fuse'));
  const fuse = spawn('nbdfuse', [r.at('fuse/disk'), server.uri], { stdio: 'inherit' });
  t.teardown(() => execFile('fusermount3', ['-u', r.at('fuse')]).on('error', () => {}));
  const ended = once(fuse, 'exit');
  await until('it is mounted', () => readFileSync('/proc/mounts', 'utf8').includes(r.at('fuse')));
  t.equal(statSync(r.at('fuse/disk')).size, 16 * MIB);
  await ok('mkfs.ext4', '-q', '-F', r.at('fuse/disk'));
  await ok('fsck.ext4', '-f', '-n', r.at('fuse/disk'));
  await ok('fusermount3', '-u', r.at('fuse'));
  t.same(await ended, [0, null]);
  t.match(await server.stop(), { code: 0 });
});
