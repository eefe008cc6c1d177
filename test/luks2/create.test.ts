import t from 'tap';
import { newHeader } from '#sealdisk/luks2/create.js';
import { sampleHeader, sampleToken } from './sample.js';

const digest = { salt: Buffer.alloc(32, 1), digest: Buffer.alloc(32, 2), iterations: 1000 };

t.test('makes the header that design and docs/format.md describe', async (t) => {
  const { metadata, ...rest } = newHeader({
    uuid: sampleHeader().uuid,
    sectorSize: 4096,
    digest,
    token: sampleToken(),
  });
  t.same(rest, { uuid: sampleHeader().uuid, label: '', subsystem: '', seqid: 0n, hdrSizeBytes: 16384 });
  t.same(metadata.keyslots, {});
  t.same(metadata.config, { json_size: '12288', keyslots_size: '16744448' });
  t.same(metadata.segments, {
    0: {
      type: 'crypt',
      offset: '16777216',
      size: 'dynamic',
      iv_tweak: '0',
      encryption: 'aes-xts-plain64',
      sector_size: 4096,
    },
  });
  t.match(metadata.digests, { 0: { type: 'pbkdf2', keyslots: [], segments: ['0'], hash: 'sha256' } });
  t.match(metadata.tokens, { 0: { type: 'sealdisk-kms', keyslots: [] } });
});

t.test('draws a UUID when none is given', async (t) => {
  const make = () => newHeader({ sectorSize: 512, digest, token: sampleToken() }).uuid;
  t.match(make(), /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  t.not(make(), make());
});

t.test('refuses a digest or a salt of another length, and too few iterations', async (t) => {
  const bad = [
    { salt: Buffer.alloc(31) },
    { digest: Buffer.alloc(20) },
    { digest: Buffer.alloc(0) },
    { iterations: 999 },
  ];
  for (const changes of bad) {
    const twisted = { sectorSize: 4096, digest: { ...digest, ...changes }, token: sampleToken() } as const;
    t.throws(() => newHeader(twisted), { code: 'LUKS2_DIGEST' });
  }
});
