/** What an image file is by its first bytes, and which files are refused before anybody opens them. */

import t from 'tap';
import { BEGIN_BYTES, flawOf, formatOf } from '#sealdisk/image/format.js';

function bytes(...parts: [number, Buffer][]): Buffer {
  const begin = Buffer.alloc(BEGIN_BYTES);
  for (const [at, part] of parts) part.copy(begin, at);
  return begin;
}

const text = (said: string) => Buffer.from(said, 'latin1');
const u32 = (value: number) => Buffer.from(value.toString(16).padStart(8, '0'), 'hex');
const u64 = (value: bigint) => Buffer.from(value.toString(16).padStart(16, '0'), 'hex');
const qcow2 = (...parts: [number, Buffer][]) => bytes([0, text('QFI\xfb')], [4, u32(3)], ...parts);
const vmdk = (capacity: number) => bytes([0, text('KDMV')], [12, Buffer.from([capacity])]);

t.test('a file is known by its signature, and what has none is raw', async (t) => {
  t.same(formatOf(qcow2()), { format: 'qcow2' });
  t.same(formatOf(vmdk(1)), { format: 'vmdk' });
  t.same(formatOf(bytes([0, text('vhdxfile')])), { format: 'vhdx' });
  t.same(formatOf(bytes([510, text('\x55\xaa')])), { format: 'raw' });
  t.same(formatOf(Buffer.alloc(0)), { format: 'raw' });
});

t.test('what is no disk image would pass for a raw one, and is named instead', async (t) => {
  t.match(formatOf(bytes([0, text('# Disk DescriptorFile\nversion=1')])), { other: /several files/ });
  t.match(formatOf(bytes([0, text('conectix')])), { other: /VHD/ });
  t.match(formatOf(bytes([64, Buffer.from('7f10dabe', 'hex')])), { other: /VDI/ });
  t.match(formatOf(bytes([0, Buffer.from('1f8b', 'hex')])), { other: /gzip/ });
});

t.test('a file that names another one is refused', async (t) => {
  t.equal(flawOf('qcow2', qcow2()), undefined);
  t.match(flawOf('qcow2', qcow2([8, u64(512n)])), /backing file/);
  t.match(flawOf('qcow2', qcow2([72, u64(4n)])), /another file/);
  t.equal(flawOf('qcow2', qcow2([72, u64(1n)])), undefined, 'dirty is no flaw');
  t.equal(flawOf('vmdk', vmdk(1)), undefined);
  t.match(flawOf('vmdk', vmdk(0)), /other files/);
});

t.test('a header that is cut, old or encrypted is refused', async (t) => {
  t.match(flawOf('qcow2', qcow2().subarray(0, 71)), /cut/);
  t.match(flawOf('qcow2', qcow2().subarray(0, 103)), /cut/);
  t.match(flawOf('qcow2', qcow2([4, u32(1)])), /version 1/);
  t.match(flawOf('qcow2', qcow2([32, u32(2)])), /encrypted/);
  t.match(flawOf('vmdk', vmdk(1).subarray(0, 511)), /cut/);
  t.equal(flawOf('qcow2', qcow2([4, u32(2)], [72, u64(4n)])), undefined, 'version 2 has no features');
});
