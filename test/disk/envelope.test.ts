/** A data key and its header prove each other: what a thief of the file twists, with checksums made right, is refused. */

import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { flockSync } from 'fs-ext';
import t from 'tap';
import { unwrapDataKey } from '#sealdisk/disk/envelope.js';
import { readDisk } from '#sealdisk/disk/read.js';
import { repairCopy } from '#sealdisk/disk/rewrite.js';
import { ServedDisk } from '#sealdisk/disk/served-disk.js';
import type { Luks2Header } from '#sealdisk/luks2/header.js';
import { withToken } from '#sealdisk/luks2/token.js';
import { diskRig, plant, SILENT, TIMEOUT_MS } from './rig.js';

const timeoutMs = TIMEOUT_MS;
/** The same bytes but for the first. */
const other = (base64: string): string => {
  const [first = 0, ...rest] = Buffer.from(base64, 'base64');
  return Buffer.from([first ^ 1, ...rest]).toString('base64');
};

t.test('a disk that was made is read and its key unwrapped, again and again', async (t) => {
  const rig = await diskRig(t);
  const disk = await rig.create('a');
  t.match(disk, {
    sizeBytes: 1n << 20n,
    sectorSize: 4096,
    repair: 'none',
    token: { keyUri: 'local:alias/bar' },
  });
  for (let i = 0; i < 2; i++) (await unwrapDataKey(disk.header, await rig.provider(), { timeoutMs })).wipe();
});

t.test('two disks have keys of their own, and neither opens with the other', async (t) => {
  const rig = await diskRig(t);
  const [a, b] = [await rig.create('a'), await rig.create('b')];
  t.not(a.header.uuid, b.header.uuid);
  const provider = await rig.provider();
  const moved = withToken(b.header, { ...a.token, object: b.token.object });
  await plant(b.path, moved);
  const read = await readDisk(b.path);
  await t.rejects(unwrapDataKey(read.header, provider, { timeoutMs }), { code: 'KMS_WRONG_CONTEXT' });
  const whole = { ...a.header, seqid: read.header.seqid };
  t.ok(
    await unwrapDataKey(whole, provider, { timeoutMs }),
    'a whole header moves with its key: it is a copy of the disk',
  );
});

/** Each twist leaves a header that the reader accepts; only the key can tell. */
const twists: [
  string,
  string | RegExp,
  (header: Luks2Header, disk: Awaited<ReturnType<typeof readDisk>>) => Luks2Header,
][] = [
  ['uuid', 'KMS_WRONG_CONTEXT', (header) => ({ ...header, uuid: '00000000-0000-4000-8000-000000000000' })],
  ['sector size', 'LUKS2_ALTERED', (header) => segment(header, { sector_size: 512 })],
  ['offset', 'LUKS2_ALTERED', (header) => segment(header, { offset: `${(16 << 20) + 4096}` })],
  ['digest', 'LUKS2_ALTERED', (header) => digest(header, (d) => ({ digest: other(d.digest) }))],
  ['digest salt', 'LUKS2_ALTERED', (header) => digest(header, (d) => ({ salt: other(d.salt) }))],
  ['digest iterations', 'LUKS2_ALTERED', (header) => digest(header, () => ({ iterations: 1001 }))],
  [
    'object id',
    'LUKS2_ALTERED',
    (header, { token }) => withToken(header, { ...token, object: { kind: 'disk', id: 'x' } }),
  ],
  [
    'object kind',
    'LUKS2_ALTERED',
    (header, { token }) => withToken(header, { ...token, object: { ...token.object, kind: 'image' } }),
  ],
  [
    'header_mac',
    'LUKS2_ALTERED',
    (header, { token }) => withToken(header, { ...token, headerMac: Buffer.alloc(32, 7) }),
  ],
  [
    'wrapped key',
    'KMS_INVALID_CIPHERTEXT',
    (header, { token }) =>
      withToken(header, { ...token, wrappedKey: Buffer.from(token.wrappedKey).fill(7, 60) }),
  ],
];

function segment(header: Luks2Header, over: object): Luks2Header {
  const segments = { '0': { ...header.metadata.segments['0'], ...over } };
  return { ...header, metadata: { ...header.metadata, segments } };
}

function digest(
  header: Luks2Header,
  over: (digest: { digest: string; salt: string }) => object,
): Luks2Header {
  const [[id, present] = []] = Object.entries(header.metadata.digests);
  if (id === undefined || present === undefined) throw new Error('a header has a digest');
  const digests = { [id]: { ...present, ...over(present) } };
  return { ...header, metadata: { ...header.metadata, digests } };
}

const serving = {
  terms: { onKeyLoss: 'hang', checkIntervalMs: 60_000, graceMs: 60_000 },
  readOnly: false,
  direct: false,
  discard: false,
  kmsWaitMs: 60_000,
  takeover: false,
} as const;

for (const [field, code, twist] of twists) {
  t.test(`an altered header is refused before a byte is served: ${field}`, async (t) => {
    const rig = await diskRig(t);
    const disk = await rig.create('a');
    await plant(disk.path, twist(disk.header, disk));
    const read = await readDisk(disk.path);
    await t.rejects(unwrapDataKey(read.header, await rig.provider(), { timeoutMs }), { code });
    await t.rejects(ServedDisk.open(read, await rig.provider(), serving, SILENT), { code }, 'at once');
  });
}

t.test('a requirement that was added is refused by the reader', async (t) => {
  const rig = await diskRig(t);
  const disk = await rig.create('a');
  const config = { ...disk.header.metadata.config, requirements: { mandatory: ['later'] } };
  const header = { ...disk.header, metadata: { ...disk.header.metadata, config } };
  await t.rejects(plant(disk.path, header), { code: 'LUKS2_REQUIREMENT' }, 'by our own writer, too');
});

t.test('name, tags and label are for people: changing them refuses nothing', async (t) => {
  const rig = await diskRig(t);
  const disk = await rig.create('a');
  await plant(disk.path, {
    ...withToken(disk.header, { ...disk.token, name: 'b', tags: { c: 'd' } }),
    label: 'e',
  });
  (await unwrapDataKey((await readDisk(disk.path)).header, await rig.provider(), { timeoutMs })).wipe();
});

t.test('a bad copy is mended, but not while the disk is held', async (t) => {
  const rig = await diskRig(t);
  const { path, header } = await rig.create('a');
  const key = await unwrapDataKey(header, await rig.provider(), { timeoutMs });
  t.teardown(() => key.wipe());
  const fd = openSync(path, 'r+');
  t.teardown(() => closeSync(fd));
  for (const [copy, atBytes] of [
    ['primary', 6000],
    ['secondary', 22_384],
  ] as const) {
    writeSync(fd, 'x', atBytes);
    const disk = await readDisk(path);
    t.equal(disk.repair, copy);
    flockSync(fd, 'sh');
    await t.rejects(repairCopy(path, key), { code: 'DISK_IN_USE' });
    t.match(await readDisk(path), { repair: copy });
    flockSync(fd, 'un');
    await repairCopy(path, key);
    t.match(await readDisk(path), { repair: 'none' });
  }
});

t.test('a copy is not made again from one that the key does not prove', async (t) => {
  const rig = await diskRig(t);
  const disk = await rig.create('a');
  const key = await unwrapDataKey(disk.header, await rig.provider(), { timeoutMs });
  t.teardown(() => key.wipe());
  await plant(disk.path, { ...disk.header, uuid: '5b1b1f5e-0000-4000-8000-000000000000' });
  const fd = openSync(disk.path, 'r+');
  writeSync(fd, 'x', 22_384);
  closeSync(fd);
  const before = readFileSync(disk.path);
  await t.rejects(repairCopy(disk.path, key), { code: 'LUKS2_ALTERED' });
  t.ok(readFileSync(disk.path).equals(before), 'nothing was written');
});
