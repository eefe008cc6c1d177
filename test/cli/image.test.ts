/** Images: of others, of disks, and for others. Each is made and read by programs that nobody here wrote. */

import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { names, type Rig, rig, run } from './rig.js';

t.setTimeout(170_000);

const MIB = 1024 * 1024;
const PAYLOAD_AT = 16 * MIB;

async function qemuImg(...args: string[]): Promise<void> {
  const { code, err } = await run('qemu-img', args);
  if (code !== 0) throw new Error(`qemu-img ${args.join(' ')}: ${err}`);
}

/** A disk of data, a hole, zeros that are written, and data: as a raw file. */
function rawDisk({ at }: Rig, name: string): Buffer {
  const bytes = Buffer.alloc(3 * MIB);
  randomBytes(MIB).copy(bytes, 0);
  randomBytes(MIB / 2).copy(bytes, 2 * MIB + 4096);
  writeFileSync(at(name), bytes);
  return bytes;
}

/** What an object holds, read by nbdcopy from `sealdisk serve`. */
async function contentOf({ at, serve }: Rig, name: string): Promise<Buffer> {
  const server = await serve(name, '--socket', at('s'), '--read-only');
  const ran = await run('nbdcopy', [server.uri, at('content')]);
  if (ran.code !== 0) throw new Error(ran.err);
  await server.stop();
  return readFileSync(at('content'));
}

t.test('every format of others becomes a plain and an encrypted image of the same bytes', async (t) => {
  const r = rig(t);
  const { at, json } = r;
  await json('key', 'create', '--alias', 'bar');
  const bytes = rawDisk(r, 'raw');
  const formats: Record<string, string[]> = {
    raw: ['-O', 'raw'],
    qcow2: ['-O', 'qcow2', '-c'],
    vmdk: ['-O', 'vmdk', '-o', 'subformat=streamOptimized'],
    vhdx: ['-O', 'vhdx'],
  };
  for (const [format, words] of Object.entries(formats)) {
    await qemuImg('convert', '-f', 'raw', ...words, at('raw'), at(`file.${format}`));
    // Nobody but its owner may read it, and qemu-img is not run as that.
    chmodSync(at(`file.${format}`), 0o600);
    const plain = await json('image', 'import', at(`file.${format}`), '--name', `plain-${format}`);
    t.match(plain, { kind: 'image', id: /^m-/, keyUri: null, sizeBytes: `${3 * MIB}` }, format);
    t.ok(readFileSync(plain.path).equals(bytes), `${format}, plain`);
    const sealed = [at(`file.${format}`), '--name', format, '--key', 'alias/bar', '--tag', 'a=b'];
    t.match(await json('image', 'import', ...sealed), { kind: 'image', keyUri: 'local:alias/bar' });
    const payload = readFileSync(at(`pool/${format}`)).subarray(PAYLOAD_AT);
    t.notOk(payload.includes(bytes.subarray(0, 4096)), 'it lies there enciphered');
    t.notOk(payload.includes(Buffer.alloc(4096)), 'its zeros, too');
  }
  t.ok((await contentOf(r, 'vmdk')).equals(bytes));
  t.ok((await contentOf(r, 'qcow2')).equals(bytes));
  const holes = [at('file.qcow2'), '--name', 'holes', '--key', 'alias/bar', '--discard'];
  await json('image', 'import', ...holes);
  t.ok(readFileSync(at('pool/holes')).subarray(PAYLOAD_AT).includes(Buffer.alloc(4096)), 'unless asked for');
  t.ok((await contentOf(r, 'holes')).equals(bytes));
  const listed = await json('image', 'list');
  t.equal(listed.length, 9);
  t.match(
    listed.find(({ name }: { name: string }) => name === 'vhdx'),
    { tags: { a: 'b' }, encrypted: true },
  );
});

t.test('what a stranger may have made is refused, and leaves nothing', async (t) => {
  const r = rig(t);
  const { at, json, sealdisk } = r;
  await json('key', 'create', '--alias', 'bar');
  rawDisk(r, 'raw');
  const make = (...words: string[]) => qemuImg(...words.map((word) => (/^x\./.test(word) ? at(word) : word)));
  const convert = async (name: string, ...words: string[]) =>
    make('convert', '-f', 'raw', ...words, at('raw'), name);
  await make('create', '-f', 'qcow2', '-b', '/etc/shadow', '-F', 'raw', 'x.backing', '1M');
  await make('create', '-f', 'qcow2', '-o', `data_file=${at('data')},data_file_raw=on`, 'x.data', '1M');
  await convert('x.vmdk', '-O', 'vmdk');
  await make('create', '-f', 'vmdk', '-b', at('x.vmdk'), '-F', 'vmdk', 'x.parent');
  const extent =
    'version=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 2 FLAT "/etc/shadow" 0\n';
  writeFileSync(at('x.extent'), `# Disk DescriptorFile\n${extent}`);
  for (const [format, sizeBytes] of [
    ['qcow2', MIB],
    ['vhdx', 9 * MIB],
  ] as const) {
    await convert(`x.cut-${format}`, '-O', format);
    truncateSync(at(`x.cut-${format}`), sizeBytes);
  }
  truncateSync(at('x.vmdk'), MIB);
  await make('create', '-f', 'qcow2', '-o', 'cluster_size=2M', 'x.huge', '128T');
  truncateSync(at('x.huge'), 16 * MIB);
  await make('create', '-f', 'qcow2', 'x.large', '32T');
  truncateSync(at('x.large'), MIB);
  const before = names(at('pool'));
  const refusals: Record<string, RegExp> = {
    'x.backing': /has a backing file/,
    'x.data': /data lies in another file/,
    'x.parent': /lies over another image/,
    'x.extent': /VMDK in several files/,
    'x.cut-qcow2': /is damaged/,
    'x.cut-vhdx': /no good vhdx/,
    'x.vmdk': /is damaged/,
    'x.huge': /the disk in it has 140737488355328 bytes/,
    'x.large': /takes 35184372088832 bytes, there is room for/,
    raw: /--format says vhdx/,
  };
  for (const [name, why] of Object.entries(refusals)) {
    const words = name === 'raw' ? ['--format', 'vhdx'] : ['--key', 'alias/bar'];
    const ran = await sealdisk('image', 'import', at(name), '--name', 'x', ...words);
    t.match(ran, { code: 4, out: '', err: why }, name);
  }
  t.same(names(at('pool')), before);
});

t.test('a disk becomes an image, that one encrypted, and a disk again', async (t) => {
  const r = rig(t);
  const { at, json, sealdisk } = r;
  await json('key', 'create', '--alias', 'bar');
  const bytes = rawDisk(r, 'raw');
  await json('import', at('raw'), '--name', 'old', '--tag', 'owner=ann');
  await json('image', 'create', 'old', '--name', 'plain');
  const copy = await json('image', 'copy', 'plain', '--name', 'sealed', '--key', 'alias/bar');
  t.match(copy, { kind: 'image', keyUri: 'local:alias/bar' });
  await json('create', 'new', '--from', 'sealed', '--size', '4M');
  t.ok((await contentOf(r, 'new')).subarray(0, bytes.length).equals(bytes));
  await json('snapshot', 'create', 'new', '--name', 'monday');
  t.match(await json('image', 'create', 'monday', '--name', 'again'), { keyUri: 'local:alias/bar' });
  t.match(await sealdisk('image', 'create', 'sealed', '--name', 'x'), { code: 2, err: /of the kind image/ });
  t.match(await sealdisk('image', 'delete', 'new', '--yes'), { code: 2, err: /of the kind disk/ });
  await json('image', 'delete', 'plain', '--yes');
  t.notOk(existsSync(at('pool/plain.image.raw')));
  t.match(await json('image', 'list'), [{ name: 'again' }, { name: 'sealed', tags: { owner: 'ann' } }]);
  const left = readdirSync(at('pool')).filter((name) => /^\.(?!index)/.test(name));
  t.same(left, [], 'nothing is left aside');
});

t.test('an image leaves as other programs read it, and an encrypted one never plain', async (t) => {
  const r = rig(t);
  const { at, json, sealdisk } = r;
  await json('key', 'create', '--alias', 'bar');
  const bytes = rawDisk(r, 'raw');
  await json('image', 'import', at('raw'), '--name', 'plain');
  await json('image', 'import', at('raw'), '--name', 'sealed', '--key', 'alias/bar');
  await json('image', 'export', 'plain', at('plain.qcow2'), '--format', 'qcow2');
  const compare = ['compare', '-f', 'qcow2', '-F', 'raw', at('plain.qcow2'), at('raw')];
  t.match(await run('qemu-img', compare), { code: 0 });

  t.match(await json('image', 'export', 'sealed', at('luks')), { format: 'luks' });
  await json('export-data-key', 'sealed', '--out', at('key'), '--yes');
  const test = ['open', '--test-passphrase', '--key-size', '512', '--volume-key-file', at('key'), at('luks')];
  t.match(await run('cryptsetup', test), { code: 0 }, 'cryptsetup opens it with its data key');
  t.ok(readFileSync(at('luks')).equals(readFileSync(at('pool/sealed'))));

  writeFileSync(at('passphrase'), 'correct horse\n');
  writeFileSync(at('secret'), 'correct horse');
  const asQcow2 = ['--format', 'qcow2', '--passphrase-file', at('passphrase')];
  await json('image', 'export', 'sealed', at('sealed.qcow2'), ...asQcow2);
  t.notOk(readFileSync(at('sealed.qcow2')).includes(bytes.subarray(0, 4096)), 'enciphered');
  const opened = `driver=qcow2,file.filename=${at('sealed.qcow2')},encrypt.key-secret=s`;
  const raw = `driver=raw,file.filename=${at('raw')}`;
  const secret = ['--object', `secret,id=s,file=${at('secret')}`];
  t.match(await run('qemu-img', ['compare', ...secret, '--image-opts', opened, raw]), { code: 0 });

  const before = names(r.dir);
  for (const words of [
    ['sealed', at('x'), '--format', 'raw'],
    ['plain', at('x'), '--format', 'luks'],
  ]) {
    t.match(await sealdisk('image', 'export', ...words), { code: 4, err: /leaves as/ });
  }
  t.match(await sealdisk('image', 'export', 'plain', at('luks')), { code: 8, err: /already exists/ });
  t.same(names(r.dir), before);
});
