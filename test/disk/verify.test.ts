/** What is found on the storage: noise where it is encrypted, and whatever is none. */

import { randomBytes } from 'node:crypto';
import { closeSync, openSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import t from 'tap';
import { createDisk } from '#sealdisk/disk/create.js';
import { encryptTo } from '#sealdisk/disk/encrypt-to.js';
import { readObject } from '#sealdisk/disk/object.js';
import { createPlain } from '#sealdisk/disk/plain.js';
import { verifyObject } from '#sealdisk/disk/verify.js';
import { run } from '../cli/rig.js';
import { diskRig, TIMEOUT_MS } from './rig.js';

t.setTimeout(60_000);

const MIB = 1 << 20;
const PAYLOAD_AT = 16 * MIB;

t.test('what is encrypted looks like noise, and deciphers to something else', async (t) => {
  const { at, poolDir, provider, kms } = await diskRig(t);
  const environment = { poolDir, env: {} };
  const look = async (name: string) => verifyObject(await readObject(at(name)), 64, environment);
  writeFileSync(at('text.raw'), 'The quick brown fox jumps over the lazy dog.\n'.repeat(100_000));
  const target = { path: at('disk'), name: '', tags: {}, discard: false };
  await encryptTo(at('text.raw'), target, await provider(), { timeoutMs: TIMEOUT_MS });
  const good = await look('disk');
  t.match(good, { verdict: 'encrypted', findings: [], zeroBlocks: 0, deciphered: { same: 0 } });
  t.ok((good.entropy?.least ?? 0) > 7.99, `${good.entropy?.least}`);
  t.match(await look('text.raw'), { verdict: 'plain', why: /characters of text|twice|no noise/ });

  await kms.disableKey('alias/bar');
  t.match(
    await look('disk'),
    { verdict: 'encrypted', deciphered: { why: /is disabled/ } },
    'without the key, too',
  );
  await kms.enableKey('alias/bar');

  const fd = openSync(at('disk'), 'r+');
  const put = (bytes: Buffer | string, atBytes: number) =>
    writeSync(fd, Buffer.from(bytes), 0, bytes.length, PAYLOAD_AT + atBytes);
  for (const [bytes, atBytes, what] of [
    ['EFI PART', 512, /a GPT partition table/],
    ['_BHRfS_M', 65_600, /a btrfs file system/],
    ['a line of text that somebody wrote past sealdisk\n', 3 * MIB + 5000, /\d+ characters of text/],
    [Buffer.alloc(4096), 2 * MIB, /1 blocks of zeros/],
  ] as const) {
    const before = Buffer.from(await kept(at('disk'), PAYLOAD_AT + atBytes, bytes.length));
    put(bytes, atBytes);
    t.match(await look('disk'), { verdict: 'doubtful', why: what });
    put(before, atBytes);
  }
  closeSync(fd);
  t.match(await look('disk'), { verdict: 'encrypted' });
});

async function kept(path: string, atBytes: number, sizeBytes: number): Promise<Buffer> {
  const file = await open(path);
  const { buffer } = await file.read(Buffer.alloc(sizeBytes), 0, sizeBytes, atBytes);
  await file.close();
  return buffer;
}

t.test('holes are nothing that was written', async (t) => {
  const { at, poolDir, provider } = await diskRig(t);
  const disk = {
    path: at('new'),
    sizeBytes: 64n << 20n,
    sectorSize: 4096,
    name: '',
    tags: {},
    discard: true,
  } as const;
  await createDisk(disk, await provider(), TIMEOUT_MS);
  const look = async () => verifyObject(await readObject(at('new')), 64, { poolDir, env: {} });
  t.match(await look(), { verdict: 'encrypted', why: /nothing was written/, samples: 0, entropy: null });
  const fd = openSync(at('new'), 'r+');
  writeSync(fd, randomBytes(4096), 0, 4096, PAYLOAD_AT + 33 * MIB + 8192);
  closeSync(fd);
  t.match(
    await look(),
    { verdict: 'encrypted', samples: 1, zeroBlocks: 0 },
    'the hole around it is none of its zeros',
  );
});

t.test('file systems are known by what mkfs writes', async (t) => {
  const { at, poolDir } = await diskRig(t);
  for (const [name, mkfs, what] of [
    ['ext4', ['mkfs.ext4', '-q'], /ext2, ext3 or ext4/],
    ['xfs', ['mkfs.xfs', '-q'], /an XFS/],
    ['btrfs', ['mkfs.btrfs', '-q'], /a btrfs/],
    ['mbr', ['sh', '-c', 'echo ",,L" | sfdisk -q "$0"'], /MBR/],
  ] as const) {
    const path = at(`${name}.raw`);
    await createPlain({ path, kind: 'disk', name, source: '', tags: {} }, 1n << 20n);
    truncateSync(path, 320 * MIB);
    const [program, ...args] = mkfs;
    const made = await run(program as string, [...args, path]);
    t.equal(made.code, 0, made.err);
    const { findings } = await verifyObject(await readObject(path), 16, { poolDir, env: {} });
    t.ok(
      findings.some((finding) => what.test(finding.what)),
      `${name}: ${findings.map((f) => f.what).join(', ')}`,
    );
  }
});
