/**
 * A served disk and the clients that nobody here wrote: nbdinfo, nbdcopy, qemu-img, qemu-io, fio. Over a unix socket and
 * TCP, with sectors of 512 and 4096, and each way of doing the work in the engine.
 */

import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { type Rig, rig, run } from '../cli/rig.js';

t.setTimeout(280_000);

const MIB = 1 << 20;

async function ok(program: string, ...args: string[]): Promise<string> {
  const { code, out, err } = await run(program, args);
  if (code !== 0) throw new Error(`${program} ${args.join(' ')}: ${code}\n${out}${err}`);
  return out;
}

/** 16 MiB of noise in `name`. */
function noise({ at }: Rig, name: string): string {
  writeFileSync(at(name), randomBytes(16 * MIB));
  return at(name);
}

const same = (a: string, b: string) => readFileSync(a).equals(readFileSync(b));

for (const [sectorSize, over] of [
  ['4096', {}],
  ['512', {}],
  ['4096', { SEALDISK_IO: 'pool', SEALDISK_CIPHER: 'openssl' }],
] as [string, NodeJS.ProcessEnv][]) {
  const how = `sectors of ${sectorSize}${Object.keys(over).length > 0 ? ', worker pool and OpenSSL' : ''}`;

  t.test(`nbdcopy with 1 and 4 connections copies in and out the same bytes, ${how}`, async (t) => {
    const r = rig(t, over);
    const image = noise(r, 'image');
    const disk = await r.disk('bar', '--sector-size', sectorSize);
    const unix = await r.serve(disk, '--socket', r.at('s'));
    await ok('nbdcopy', '--connections=4', '--requests=16', '--flush', image, unix.uri);
    await ok('nbdcopy', '--connections=1', unix.uri, r.at('back'));
    t.ok(same(image, r.at('back')));
    t.match(await unix.stop(), { code: 0 });
    t.notOk(readFileSync(disk).includes(readFileSync(image).subarray(0, 64)), 'the file holds no plaintext');

    const tcp = await r.serve(disk, '--listen', '127.0.0.1:0', '--export-name', 'a disk', '--read-only');
    t.match(tcp.uri, /^nbd:\/\/127\.0\.0\.1:\d+\/a%20disk$/);
    await ok('nbdcopy', '--connections=4', tcp.uri, r.at('again'));
    t.ok(same(image, r.at('again')), 'after a restart, over TCP');
    t.match(await tcp.stop('SIGINT'), { code: 0 });
  });

  t.test(`qemu-img converts to the disk and from it, ${how}`, async (t) => {
    const r = rig(t, over);
    const image = noise(r, 'image');
    const server = await r.serve(await r.disk('bar', '--sector-size', sectorSize), '--socket', r.at('s'));
    await ok('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', image, server.uri);
    await ok('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', server.uri, r.at('qcow2'));
    t.match(await ok('qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2', image, r.at('qcow2')), 'identical');
    t.match(await ok('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', image, server.uri), 'identical');
    await server.stop();
  });

  t.test(`qemu-io reads back what it wrote at odd places, and zeroes, ${how}`, async (t) => {
    const r = rig(t, over);
    const server = await r.serve(await r.disk('bar', '--sector-size', sectorSize), '--socket', r.at('s'));
    const io = (...commands: string[]) =>
      run('qemu-io', ['-f', 'raw', ...commands.flatMap((command) => ['-c', command]), server.uri]);
    const written = await io(
      'write -P 0xaa 0 1M',
      'write -P 0x11 511 3',
      'write -P 0x22 4095 4098',
      'write -P 0x33 100001 77777',
      'write -z 200001 5000',
      'write -z -u 300000 8192',
      'write -f -P 0x44 500001 1',
      'flush',
    );
    t.match(written, { code: 0 }, written.err);
    const read = await io(
      'read -P 0xaa 0 511',
      'read -P 0x11 511 3',
      'read -P 0xaa 514 3581',
      'read -P 0x22 4095 4098',
      'read -P 0x33 100001 77777',
      'read -P 0xaa 177778 22223',
      'read -P 0 200001 5000',
      'read -P 0xaa 205001 1',
      'read -P 0 300000 8192',
      'read -P 0x44 500001 1',
      'read -P 0xaa 500002 999',
    );
    t.match(read, { code: 0 }, read.err);
    t.notMatch(read.out, /failed|error/);
    t.match(await io('read -P 0x55 0 512'), { code: 1, out: /Pattern verification failed/ }, 'it can fail');
    await server.stop();
  });
}

t.test('fio verifies what it wrote in mixed block sizes, many at a time', async (t) => {
  const r = rig(t);
  const server = await r.serve(await r.disk('bar'), '--socket', r.at('s'));
  for (const [name, sizes] of [
    ['aligned', ['--bsrange=4k-128k', '--blockalign=4k']],
    ['odd', ['--bsrange=512-64k', '--bs_unaligned=1']],
  ] as [string, string[]][]) {
    const mix = ['--rw=randwrite', ...sizes, '--iodepth=32', '--size=16M', '--io_size=24M'];
    const verify = ['--verify=crc32c', '--do_verify=1', '--verify_fatal=1', '--verify_backlog=64'];
    const state = ['--verify_state_save=0', '--fsync=64', '--randseed=1'];
    const out = await ok(
      'fio',
      `--name=${name}`,
      '--ioengine=nbd',
      `--uri=${server.uri}`,
      ...mix,
      ...verify,
      ...state,
    );
    t.match(out, /err= 0/, name);
  }
  await server.stop();
});

t.test('nbdinfo tells the truth about a disk', async (t) => {
  const r = rig(t);
  const disk = await r.disk('bar', '--name', 'größe');
  for (const readOnly of [false, true]) {
    const server = await r.serve(disk, '--socket', r.at('s'), ...(readOnly ? ['--read-only'] : []));
    const { protocol, exports } = JSON.parse(await ok('nbdinfo', '--no-content', '--json', server.uri));
    t.equal(protocol, 'newstyle-fixed');
    t.match(exports[0], {
      'export-name': '',
      description: 'größe',
      'export-size': 16 * MIB,
      is_read_only: readOnly,
      can_flush: true,
      can_fua: true,
      can_multi_conn: true,
      can_cache: true,
      can_df: true,
      contexts: ['base:allocation', 'sealdisk:key-state'],
      can_trim: !readOnly,
      can_zero: !readOnly,
      block_size_minimum: 1,
      block_size_preferred: 4096,
      block_size_maximum: 32 * MIB,
    });
    await server.stop();
  }
});
