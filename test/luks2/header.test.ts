import { createHash } from 'node:crypto';
import t from 'tap';
import { decodeCopy, encodeCopy, hdrSizeOf, sealCopy } from '#sealdisk/luks2/header.js';
import { sampleHeader, UUID } from './sample.js';

const PRIMARY = { which: 'primary', offsetBytes: 0, path: 'disk.img' } as const;
const SECONDARY = { which: 'secondary', offsetBytes: 16384, path: 'disk.img' } as const;

t.test('lays a copy out as the LUKS2 specification says', async (t) => {
  const copy = encodeCopy({ ...sampleHeader({ label: 'über' }), seqid: 0x0102030405060708n }, 'secondary');
  t.equal(copy.length, 16384);
  t.equal(copy.toString('latin1', 0, 6), 'SKUL\xba\xbe');
  t.equal(copy.toString('hex', 6, 24), `0002${'0000000000004000'}${'0102030405060708'}`);
  t.equal(copy.toString('utf8', 24, 30), 'über\0');
  t.equal(copy.toString('latin1', 72, 79), 'sha256\0');
  t.equal(copy.toString('latin1', 168, 205), `${UUID}\0`);
  t.equal(copy.readBigUInt64BE(256), 16384n);
  t.ok(copy.subarray(264, 448).equals(Buffer.alloc(184)));
  t.equal(copy.toString('latin1', 4096, 4111), '{"keyslots":{},');
});

t.test('seals a copy with SHA-256 over all of it, the checksum field zero', async (t) => {
  const copy = encodeCopy(sampleHeader(), 'primary');
  const stored = Buffer.from(copy.subarray(448, 512));
  copy.fill(0, 448, 512);
  const digest = createHash('sha256').update(copy).digest();
  t.ok(stored.equals(Buffer.concat([digest, Buffer.alloc(32)])));
});

t.test('decodes what it encoded', async (t) => {
  const { metadata, ...rest } = { ...sampleHeader({ label: 'l'.repeat(47) }), seqid: 2n ** 64n - 1n };
  for (const place of [PRIMARY, SECONDARY]) {
    const { json, ...decoded } = decodeCopy(encodeCopy({ ...rest, metadata }, place.which), place);
    t.same(decoded, rest);
    t.equal(JSON.stringify(json), JSON.stringify(metadata));
  }
});

t.test('takes a primary for no secondary, nor a secondary for a primary', async (t) => {
  t.throws(() => hdrSizeOf(encodeCopy(sampleHeader(), 'primary'), SECONDARY), { code: 'LUKS2_NOT_LUKS' });
  t.throws(() => hdrSizeOf(encodeCopy(sampleHeader(), 'secondary'), PRIMARY), { code: 'LUKS2_NOT_LUKS' });
});

t.test('refuses a secondary whose size is not where it stands', async (t) => {
  const copy = encodeCopy(sampleHeader(), 'secondary');
  copy.writeBigUInt64BE(32768n, 8);
  t.throws(() => decodeCopy(sealCopy(copy), SECONDARY), { code: 'LUKS2_HEADER_SIZE' });
});

t.test('refuses to write a label of 48 bytes, or one with a zero byte', async (t) => {
  for (const label of ['l'.repeat(48), 'ü'.repeat(24), 'a\0b']) {
    t.throws(() => encodeCopy(sampleHeader({ label }), 'primary'), { code: 'LUKS2_FIELD' });
  }
});

t.test('says how much room JSON would need that does not fit', async (t) => {
  const header = sampleHeader();
  const used = JSON.stringify(header.metadata).length;
  const filled = (sizeBytes: number) => ({
    ...header,
    metadata: {
      ...header.metadata,
      tokens: { ...header.metadata.tokens, '1': { t: 'x'.repeat(sizeBytes) } },
    },
  });
  const overhead = JSON.stringify(filled(0).metadata).length - used;
  const room = 12288 - 1 - used - overhead;
  t.equal(encodeCopy(filled(room), 'primary').at(-1), 0, 'the zero byte that ends it fits');
  t.throws(() => encodeCopy(filled(room + 1), 'primary'), {
    code: 'LUKS2_JSON_FULL',
    facts: { found: 12289, expected: 12288 },
  });
});
