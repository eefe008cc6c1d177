import t, { type Test } from 'tap';
import { isFailure } from '#sealdisk/errors.js';
import { readCopies, readHeader, repairHeader, writeHeader } from '#sealdisk/luks2/copies.js';
import { encodeCopy, HDR_SIZES_BYTES, type Luks2Header, type Which } from '#sealdisk/luks2/header.js';
import { imageWith } from './broken/flaw.js';
import { BLOCK_BYTES, MemoryFile } from './memory-file.js';
import { sampleHeader } from './sample.js';

const PATH = 'disk.img';
const HDR = 16384;
/** Label and JSON differ from those of another label, so that a copy of which a part has landed is neither. */
const labelled = (label: string, seqid: bigint): Luks2Header => ({
  ...sampleHeader({ label, token: { name: label } }),
  seqid,
});

/** A file whose copies are these headers; undefined leaves zeros. */
function imageOf(primary: Luks2Header | undefined, secondary: Luks2Header | undefined): MemoryFile {
  const image = Buffer.alloc(2 * HDR);
  if (primary) encodeCopy(primary, 'primary').copy(image);
  if (secondary) encodeCopy(secondary, 'secondary').copy(image, HDR);
  return new MemoryFile(image);
}

/** The same file with one wrong bit in the JSON area of a copy, from the beginning. */
function spoil(file: MemoryFile, which: Which): MemoryFile {
  const bytes = Buffer.from(file.bytes);
  const at = (which === 'primary' ? 0 : HDR) + 5000;
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  return new MemoryFile(bytes);
}

t.test('takes equal copies as one, with nothing to repair', async (t) => {
  const { header, repair } = await readHeader(imageOf(labelled('a', 5n), labelled('a', 5n)), PATH);
  t.match({ header, repair }, { header: { seqid: 5n, label: 'a' }, repair: 'none' });
});

t.test('takes the copy with the higher sequence id, and names the older one', async (t) => {
  const newerFirst = await readHeader(imageOf(labelled('new', 6n), labelled('old', 5n)), PATH);
  t.match(newerFirst, { header: { label: 'new' }, repair: 'secondary' });
  const newerSecond = await readHeader(imageOf(labelled('old', 5n), labelled('new', 6n)), PATH);
  t.match(newerSecond, { header: { label: 'new' }, repair: 'primary' });
});

t.test('compares sequence ids as 64-bit numbers', async (t) => {
  const file = imageOf(labelled('old', 2n ** 53n), labelled('new', 2n ** 53n + 1n));
  t.match(await readHeader(file, PATH), { header: { label: 'new' } });
});

t.test('takes the good copy when the other is bad', async (t) => {
  for (const which of ['primary', 'secondary'] as const) {
    const file = spoil(imageOf(labelled('a', 5n), labelled('a', 5n)), which);
    t.match(await readHeader(file, PATH), { header: { seqid: 5n }, repair: which });
  }
});

t.test('takes the good copy when the other cannot be read', async (t) => {
  for (const which of ['primary', 'secondary'] as const) {
    const file = imageOf(labelled('a', 5n), labelled('a', 5n));
    const startBytes = which === 'primary' ? 0 : HDR;
    file.unreadable.push({ startBytes, endBytes: startBytes + 512 });
    t.match((await readCopies(file, PATH))[which], { kind: 'unreadable', errno: 'EIO' });
    t.match(await readHeader(file, PATH), { header: { seqid: 5n }, repair: which });
  }
});

t.test('says the errno when no copy can be read', async (t) => {
  const file = imageOf(labelled('a', 5n), labelled('a', 5n));
  file.unreadable.push({ startBytes: 0, endBytes: 1 << 30 });
  await t.rejects(readHeader(file, PATH), { code: 'DISK_IO', facts: { path: PATH, errno: 'EIO' } });
});

t.test('says that both copies are bad when both are', async (t) => {
  const file = spoil(spoil(imageOf(labelled('a', 5n), labelled('a', 5n)), 'primary'), 'secondary');
  await t.rejects(readHeader(file, PATH), {
    code: 'LUKS2_CHECKSUM',
    facts: { copies: 'primary and secondary' },
  });
});

t.test('tells an overwritten primary from a file that never was LUKS', async (t) => {
  const file = spoil(imageOf(labelled('a', 5n), labelled('a', 5n)), 'secondary');
  file.bytes.fill(0, 0, HDR);
  await t.rejects(readHeader(file, PATH), { code: 'LUKS2_CHECKSUM', facts: { copies: 'secondary' } });
  for (const sizeBytes of [0, 1, 4095, 4096, 1 << 20]) {
    await t.rejects(readHeader(new MemoryFile(Buffer.alloc(sizeBytes)), PATH), { code: 'LUKS2_NOT_LUKS' });
  }
});

t.test('tells of a broken secondary wherever it stands', async (t) => {
  const image = Buffer.alloc(1 << 20);
  const copy = encodeCopy({ ...labelled('a', 5n), hdrSizeBytes: 65536 }, 'secondary');
  copy.writeUInt8(copy.readUInt8(5000) ^ 1, 5000);
  copy.copy(image, 65536);
  await t.rejects(readHeader(new MemoryFile(image), PATH), {
    code: 'LUKS2_CHECKSUM',
    facts: { copies: 'secondary' },
  });
});

t.test('finds the secondary at each place where it may stand', async (t) => {
  for (const hdrSizeBytes of HDR_SIZES_BYTES) {
    const header = labelled('a', 5n);
    const json_size = String(hdrSizeBytes - 4096);
    const segments = { '0': { ...header.metadata.segments['0'], offset: '33554432' } };
    const metadata = { ...header.metadata, segments, config: { ...header.metadata.config, json_size } };
    const image = Buffer.alloc(2 * hdrSizeBytes);
    encodeCopy({ ...header, hdrSizeBytes, metadata }, 'secondary').copy(image, hdrSizeBytes);
    t.match(await readHeader(new MemoryFile(image), PATH), { header: { hdrSizeBytes }, repair: 'primary' });
  }
});

t.test('never answers what the newer copy says with the older copy', async (t) => {
  const says = {
    json: (json: { config: object }) => Object.assign(json.config, { requirements: { mandatory: ['x'] } }),
  };
  const newer = imageWith(says, labelled('', 6n));
  encodeCopy(labelled('', 5n), 'secondary').copy(newer.bytes, HDR);
  await t.rejects(readHeader(newer, PATH), { code: 'LUKS2_REQUIREMENT' });
});

t.test('refuses two good copies that no cut write can leave', async (t) => {
  const of = (seqid: bigint, generation: number, label = 'a'): Luks2Header => ({
    ...sampleHeader({ label, token: { generation } }),
    seqid,
  });
  const uuid = '11111111-2222-4333-8444-555555555555';
  const refused: [string, string, Luks2Header, Luks2Header][] = [
    ['one sequence id, two labels', 'LUKS2_COPIES', of(5n, 1), of(5n, 1, 'b')],
    ['one sequence id, two tokens', 'LUKS2_COPIES', of(5n, 1), of(5n, 2)],
    ['one sequence id, two disks', 'LUKS2_COPIES', of(5n, 1), { ...of(5n, 1), uuid }],
    ['two disks', 'LUKS2_COPIES', of(6n, 1), { ...of(5n, 1), uuid }],
    ['an old header with a higher sequence id', 'LUKS2_ROLLED_BACK', of(6n, 0), of(5n, 1)],
  ];
  for (const [what, code, a, b] of refused) {
    await t.rejects(readHeader(imageOf(a, b), PATH), { code }, what);
    await t.rejects(readHeader(imageOf(b, a), PATH), { code }, `${what}, the other way round`);
  }
  const grown = imageOf(of(6n, 2), of(5n, 1));
  t.match(await readHeader(grown, PATH), { header: { seqid: 6n }, repair: 'secondary' }, 'a cut write');
  const added = imageOf(of(6n, 1, 'new'), of(5n, 1));
  t.match(await readHeader(added, PATH), { header: { label: 'new' } }, 'a write of cryptsetup');
});

t.test('takes copies as alike that differ in the order of their JSON only', async (t) => {
  const header = labelled('a', 5n);
  const { config, digests, ...rest } = header.metadata;
  const turned = { ...header, metadata: { config, digests, ...rest } };
  t.match(await readHeader(imageOf(header, turned), PATH), { repair: 'none' });
});

t.test('repairs the named copy and touches nothing else', async (t) => {
  for (const which of ['primary', 'secondary'] as const) {
    const file = spoil(imageOf(labelled('a', 5n), labelled('a', 5n)), which);
    const other = which === 'primary' ? file.bytes.subarray(HDR) : file.bytes.subarray(0, HDR);
    const before = Buffer.from(other);
    const { header, repair } = await readHeader(file, PATH);
    t.equal(repair, which);
    await repairHeader(file, PATH, header, which);
    t.match(await readHeader(file, PATH), { header, repair: 'none' });
    t.ok(other.equals(before));
    t.match(file.steps, [{ kind: 'write' }, { kind: 'sync' }]);
  }
});

t.test('writes the primary, syncs, writes the secondary, syncs', async (t) => {
  const file = imageOf(labelled('old', 5n), labelled('old', 5n));
  const written = await writeHeader(file, PATH, labelled('new', 5n));
  t.equal(written.seqid, 6n);
  t.match(file.steps, [
    { kind: 'write', offsetBytes: 0 },
    { kind: 'sync' },
    { kind: 'write', offsetBytes: HDR },
    { kind: 'sync' },
  ]);
  t.match(await readHeader(file, PATH), { header: written, repair: 'none' });
});

t.test('draws a fresh salt for each copy of each write', async (t) => {
  const file = imageOf(undefined, undefined);
  const salts = new Set<string>();
  let header = sampleHeader();
  for (let i = 0; i < 3; i++) {
    header = await writeHeader(file, PATH, header);
    for (const at of [0, HDR]) salts.add(file.bytes.subarray(at + 104, at + 168).toString('hex'));
  }
  t.equal(salts.size, 6);
});

t.test('refuses to write over a newer header of the same disk, and writes nothing', async (t) => {
  const file = imageOf(labelled('new', 7n), labelled('new', 7n));
  await t.rejects(writeHeader(file, PATH, labelled('stale', 6n)), { code: 'INTERNAL' });
  t.equal(file.steps.length, 0);
});

t.test('refuses to write a header that it would not read, and writes nothing', async (t) => {
  const file = imageOf(labelled('a', 5n), labelled('a', 5n));
  const header = labelled('a', 5n);
  const twisted = { ...header, metadata: { ...header.metadata, digests: {} } };
  await t.rejects(writeHeader(file, PATH, twisted), { code: 'LUKS2_DIGEST' });
  const tags = Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`t${i}`, 'v'.repeat(256)]));
  const full = sampleHeader({ token: { tags: {} } });
  const tokens = { '0': { ...full.metadata.tokens['0'], tags } };
  const tooLong = { ...full, metadata: { ...full.metadata, tokens } };
  await t.rejects(writeHeader(file, PATH, tooLong), { code: 'LUKS2_JSON_FULL' });
  t.equal(file.steps.length, 0);
});

/** Where a write can begin: what the copies are, and the label that opens before it. */
const BEGINNINGS: Record<string, () => MemoryFile> = {
  'two good copies': () => imageOf(labelled('old', 5n), labelled('old', 5n)),
  'a bad primary': () => spoil(imageOf(labelled('old', 5n), labelled('old', 5n)), 'primary'),
  'a bad secondary': () => spoil(imageOf(labelled('old', 5n), labelled('old', 5n)), 'secondary'),
  'an older primary': () => imageOf(labelled('older', 4n), labelled('old', 5n)),
  'an older secondary': () => imageOf(labelled('old', 5n), labelled('older', 4n)),
};

for (const [beginning, make] of Object.entries(BEGINNINGS)) {
  t.test(`a write cut anywhere opens as old or new, from ${beginning}`, async (t) => {
    const file = make();
    await writeHeader(file, PATH, labelled('new', 5n));
    assertAlternating(t, file);
    const seen = await outcomes(file, ['old', 'new']);
    t.same(seen.wrong, []);
    t.ok(seen.cuts >= 2 * (HDR / BLOCK_BYTES), `${seen.cuts} cuts`);
    t.ok(seen.labels.old > 0 && seen.labels.new > 0, 'both outcomes were seen');
    t.ok(seen.torn > 8, `${seen.torn} cuts left a copy that is neither`);
  });

  t.test(`a repair cut anywhere opens as it was, from ${beginning}`, async (t) => {
    const file = make();
    const { header, repair } = await readHeader(file, PATH);
    if (repair !== 'none') await repairHeader(file, PATH, header, repair);
    assertAlternating(t, file);
    t.same((await outcomes(file, ['old'])).wrong, []);
  });

  t.test(`a write that fails at any step says so and opens as old or new, from ${beginning}`, async (t) => {
    for (let step = 0; step < 4; step++) {
      const file = make();
      file.failingStep = step;
      await t.rejects(writeHeader(file, PATH, labelled('new', 5n)), {
        code: 'DISK_IO',
        facts: { errno: 'EIO' },
      });
      t.same((await outcomes(file, ['old', 'new'])).wrong, []);
    }
  });
}

t.test('a first write cut anywhere opens as new or not at all', async (t) => {
  const file = imageOf(undefined, undefined);
  await writeHeader(file, PATH, labelled('new', 0n));
  for (const { bytes, stepsDone } of file.crashes()) {
    const label = await labelAfter(bytes);
    t.ok(label === 'new' || (label === 'refused' && stepsDone <= 1), `${label} after ${stepsDone}`);
  }
});

t.test('a cut write is finished by the next one, cut again', async (t) => {
  const first = BEGINNINGS['two good copies']?.() as MemoryFile;
  await writeHeader(first, PATH, labelled('new', 5n));
  for (const { bytes } of first.crashes()) {
    const second = new MemoryFile(bytes);
    const { header } = await readHeader(second, PATH);
    await writeHeader(second, PATH, { ...header, label: 'next' });
    t.same((await outcomes(second, [header.label, 'next'])).wrong, []);
  }
});

/** `crashes` knows one pending write at most. */
function assertAlternating(t: Test, file: MemoryFile): void {
  t.same(
    file.steps.map((step) => step.kind),
    file.steps.map((_, i) => (i % 2 === 0 ? 'write' : 'sync')),
  );
}

async function outcomes(file: MemoryFile, allowed: readonly string[]) {
  const labels: Record<string, number> = {};
  const wrong: object[] = [];
  let cuts = 0;
  let torn = 0;
  for (const { bytes, ...cut } of file.crashes()) {
    const label = await labelAfter(bytes);
    const copies = await readCopies(new MemoryFile(bytes), PATH);
    if (copies.primary.kind === 'bad' || copies.secondary.kind === 'bad') torn++;
    cuts++;
    labels[label] = (labels[label] ?? 0) + 1;
    if (!allowed.includes(label)) wrong.push({ ...cut, label });
  }
  return { labels: { old: 0, new: 0, ...labels }, wrong, cuts, torn };
}

async function labelAfter(bytes: Buffer): Promise<string> {
  try {
    return (await readHeader(new MemoryFile(bytes), PATH)).header.label;
  } catch (error) {
    if (isFailure(error)) return 'refused';
    throw error;
  }
}
