/**
 * cryptsetup as the judge of our headers, and we as the judge of what it makes of them. Opening needs no kernel here
 * (--test-passphrase); dm-crypt is in test/vm.
 */

import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, ftruncateSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { flockSync } from 'fs-ext';
import t, { type Test } from 'tap';
import { readCopies, readHeader, repairHeader, writeHeader } from '#sealdisk/luks2/copies.js';
import { encodeCopy, type Luks2Header } from '#sealdisk/luks2/header.js';
import { holdLock } from '#sealdisk/luks2/lock.js';
import { geometryOf } from '#sealdisk/luks2/metadata.js';
import { tokenOf } from '#sealdisk/luks2/token.js';
import { DATA_KEY, macOf, OFFSET_BYTES, sampleHeader, UUID } from '../luks2/sample.js';

const HDR = 16384;
/** Cheap on purpose: what is tested is the keyslot, not its strength. */
const FAST = ['--pbkdf-force-iterations', '4', '--pbkdf-memory', '32', '--pbkdf-parallel', '1'];

interface Ran {
  readonly code: number;
  readonly out: string;
}

function cryptsetup(...args: string[]): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const options = { env: { ...process.env, LC_ALL: 'C' }, timeout: 60_000 };
    const child = execFile('cryptsetup', ['--batch-mode', ...args], options, (error, stdout, stderr) => {
      const code = error === null ? 0 : error.code;
      if (typeof code !== 'number') reject(error);
      else resolve({ code, out: stdout + stderr });
    });
    child.stdin?.end();
  });
}

interface Rig {
  readonly path: string;
  readonly fd: number;
  readonly header: Luks2Header;
  readonly key: string;
  readonly wrongKey: string;
  readonly passphrase: string;
}

async function rig(t: Test, sectorSize: 512 | 4096 = 4096): Promise<Rig> {
  const dir = t.testdir({ passphrase: 'correct horse' });
  const at = (name: string) => join(dir, name);
  writeFileSync(at('key'), DATA_KEY);
  writeFileSync(at('wrong'), randomBytes(64));
  const fd = openSync(at('disk.img'), 'wx+');
  t.teardown(() => closeSync(fd));
  ftruncateSync(fd, OFFSET_BYTES + (1 << 20));
  const header = await writeHeader(fd, at('disk.img'), sampleHeader({ sectorSize }));
  const files = { key: at('key'), wrongKey: at('wrong'), passphrase: at('passphrase') };
  return { path: at('disk.img'), fd, header, ...files };
}

const openWithKey = (path: string, key: string) =>
  cryptsetup('open', '--test-passphrase', '--key-size', '512', '--volume-key-file', key, path);
const addPassphrase = ({ path, key, passphrase }: Rig) =>
  cryptsetup('luksAddKey', '--key-size', '512', '--volume-key-file', key, ...FAST, path, passphrase);
const openWithPassphrase = ({ path, passphrase }: Rig) =>
  cryptsetup('open', '--test-passphrase', '--key-file', passphrase, path);

for (const sectorSize of [512, 4096] as const) {
  t.test(`cryptsetup dumps our header with sectors of ${sectorSize}`, async (t) => {
    const { path } = await rig(t, sectorSize);
    const { code, out } = await cryptsetup('luksDump', path);
    t.equal(code, 0, out);
    const lines = [
      /Epoch:\s+1\n/,
      /Metadata area:\s+16384 \[bytes\]/,
      /Keyslots area:\s+16744448 \[bytes\]/,
      new RegExp(`UUID:\\s+${UUID}`),
      /offset: 16777216 \[bytes\]/,
      /length: \(whole device\)/,
      /cipher: aes-xts-plain64/,
      new RegExp(`sector: ${sectorSize} \\[bytes\\]`),
      /0: sealdisk-kms/,
      /0: pbkdf2\s+Hash:\s+sha256\s+Iterations: 1000/,
    ];
    for (const line of lines) t.match(out, line);
    t.equal((await cryptsetup('isLuks', '--type', 'luks2', path)).code, 0);
    t.equal((await cryptsetup('repair', path)).code, 0, 'and finds nothing to repair');
  });

  t.test(`cryptsetup opens with our data key and no other, sectors of ${sectorSize}`, async (t) => {
    const { path, key, wrongKey } = await rig(t, sectorSize);
    t.match(await openWithKey(path, key), { code: 0 });
    t.match(await openWithKey(path, wrongKey), { code: 2 });
  });

  t.test(
    `a recovery passphrase added by luksAddKey opens, and we accept it, sectors of ${sectorSize}`,
    async (t) => {
      const disk = await rig(t, sectorSize);
      t.match(await openWithPassphrase(disk), { code: /[^0]/ }, 'not before it is added');
      t.match(await addPassphrase(disk), { code: 0 });
      t.match(await openWithPassphrase(disk), { code: 0 });
      t.match(await openWithKey(disk.path, disk.key), { code: 0 });
      const { header, repair } = await readHeader(disk.fd, disk.path);
      t.equal(repair, 'none');
      t.equal(header.seqid > disk.header.seqid, true);
      t.match(header.metadata.keyslots, { 0: { type: 'luks2', kdf: { type: 'argon2id' } } });
      t.same(header.metadata.digests['0']?.keyslots, ['0']);
      t.same(geometryOf(header), geometryOf(disk.header));
      t.ok(macOf(header).equals(tokenOf(header).headerMac), 'header_mac still holds');
    },
  );
}

t.test('cryptsetup refuses to add a passphrase under another data key', async (t) => {
  const disk = await rig(t);
  t.not((await addPassphrase({ ...disk, key: disk.wrongKey })).code, 0);
});

t.test('what we write after luksAddKey keeps the keyslot', async (t) => {
  const disk = await rig(t);
  await addPassphrase(disk);
  const { header } = await readHeader(disk.fd, disk.path);
  const written = await writeHeader(disk.fd, disk.path, { ...header, label: 'renamed' });
  t.match(await openWithPassphrase(disk), { code: 0 });
  t.match((await cryptsetup('luksDump', disk.path)).out, /Label:\s+renamed/);
  t.equal(JSON.stringify(written.metadata.keyslots), JSON.stringify(header.metadata.keyslots));
});

t.test('we accept what an owner may do with cryptsetup, and header_mac holds', async (t) => {
  const disk = await rig(t);
  const json = join(dirname(disk.path), 'token');
  writeFileSync(json, '{"type":"mine","keyslots":[],"pi":3.25}');
  const deeds: [string, ...string[]][] = [
    ['config', '--label', 'größe', '--subsystem', 'tests', disk.path],
    ['token', 'import', '--json-file', json, disk.path],
    ['token', 'add', '--key-description', 'mine', disk.path],
  ];
  await addPassphrase(disk);
  for (const deed of deeds) t.match(await cryptsetup(...deed), { code: 0 }, deed.join(' '));
  const { header } = await readHeader(disk.fd, disk.path);
  t.match(header, { label: 'größe', subsystem: 'tests' });
  t.match(header.metadata.tokens, { 1: { type: 'mine', pi: 3.25 }, 2: { type: 'luks2-keyring' } });
  t.ok(macOf(header).equals(tokenOf(header).headerMac));
  t.match(await cryptsetup('luksErase', disk.path), { code: 0 });
  const after = (await readHeader(disk.fd, disk.path)).header;
  t.same(Object.keys(after.metadata.keyslots), []);
  t.ok(macOf(after).equals(tokenOf(after).headerMac), 'and after the passphrase is gone');
});

t.test('we see that the UUID was changed', async (t) => {
  const disk = await rig(t);
  const uuid = UUID.replace('0', '1');
  t.match(await cryptsetup('luksUUID', '--uuid', uuid, disk.path), { code: 0 });
  const { header } = await readHeader(disk.fd, disk.path);
  t.equal(header.uuid, uuid);
  t.notOk(macOf(header).equals(tokenOf(header).headerMac));
});

t.test('we refuse a reencryption that cryptsetup began', async (t) => {
  const disk = await rig(t);
  await addPassphrase(disk);
  const init = ['reencrypt', '--init-only', '--key-file', disk.passphrase, ...FAST, disk.path];
  t.match(await cryptsetup(...init), { code: 0 });
  const refused = { code: 'LUKS2_REQUIREMENT', facts: { found: /^online-reencrypt/ } };
  await t.rejects(readHeader(disk.fd, disk.path), refused);
});

t.test('we read what luksFormat writes, and say that it is not ours', async (t) => {
  const path = join(t.testdir({ passphrase: 'p' }), 'foreign.img');
  const fd = openSync(path, 'wx+');
  t.teardown(() => closeSync(fd));
  ftruncateSync(fd, 32 << 20);
  const format = [
    'luksFormat',
    '--type',
    'luks2',
    '--cipher',
    'aes-xts-plain64',
    '--key-size',
    '512',
    ...FAST,
  ];
  t.match(await cryptsetup(...format, path, join(dirname(path), 'passphrase')), { code: 0 });
  const { header, repair } = await readHeader(fd, path);
  t.equal(repair, 'none');
  t.throws(() => tokenOf(header), { code: 'LUKS2_TOKEN_MISSING' });
});

t.test('we refuse a LUKS1 volume by its version', async (t) => {
  const path = join(t.testdir({ passphrase: 'p' }), 'luks1.img');
  const fd = openSync(path, 'wx+');
  t.teardown(() => closeSync(fd));
  ftruncateSync(fd, 8 << 20);
  const format = ['luksFormat', '--type', 'luks1', '--pbkdf-force-iterations', '1000'];
  t.match(await cryptsetup(...format, path, join(dirname(path), 'passphrase')), { code: 0 });
  await t.rejects(readHeader(fd, path), { code: 'LUKS2_VERSION', facts: { found: 1, expected: 2 } });
});

t.test('cryptsetup repairs what we would repair, and takes what we repaired', async (t) => {
  for (const which of ['primary', 'secondary'] as const) {
    const disk = await rig(t);
    const startBytes = which === 'primary' ? 0 : HDR;
    writeSync(disk.fd, Buffer.from('x'), 0, 1, startBytes + 6000);
    const { header, repair } = await readHeader(disk.fd, disk.path);
    t.equal(repair, which);
    await repairHeader(disk.fd, disk.path, header, repair as 'primary');
    t.match(await openWithKey(disk.path, disk.key), { code: 0 });

    writeSync(disk.fd, Buffer.from('x'), 0, 1, startBytes + 6000);
    t.match(await openWithKey(disk.path, disk.key), { code: 0 }, 'cryptsetup repairs by opening');
    t.match(await readCopies(disk.fd, disk.path), { primary: { kind: 'good' }, secondary: { kind: 'good' } });
    t.match(await readHeader(disk.fd, disk.path), { repair: 'none' });
  }
});

t.test('cryptsetup and we choose the same of two copies', async (t) => {
  for (const which of ['primary', 'secondary'] as const) {
    const disk = await rig(t);
    const newer = encodeCopy({ ...disk.header, label: 'newer', seqid: disk.header.seqid + 1n }, which);
    writeSync(disk.fd, newer, 0, newer.length, which === 'primary' ? 0 : HDR);
    t.equal((await readHeader(disk.fd, disk.path)).header.label, 'newer');
    t.match((await cryptsetup('luksDump', disk.path)).out, /Label:\s+newer/);
  }
});

t.test('a held disk lets cryptsetup read and keeps it from writing', async (t) => {
  const disk = await rig(t);
  await holdLock(disk.fd, disk.path, async () => {});
  t.match(await cryptsetup('luksDump', disk.path), { code: 0 });
  const before = readFileSync(disk.path).subarray(0, 2 * HDR);
  const writer = spawn('cryptsetup', ['config', '--label', 'late', disk.path], { stdio: 'ignore' });
  const ended = once(writer, 'exit');
  await waitsForLock(writer.pid as number);
  t.ok(
    readFileSync(disk.path)
      .subarray(0, 2 * HDR)
      .equals(before),
    'while it waits nothing is written',
  );
  flockSync(disk.fd, 'un');
  t.same(await ended, [0, null], 'when the disk is let go it writes');
  t.match(await readHeader(disk.fd, disk.path), { header: { label: 'late' }, repair: 'none' });
});

/** Resolves when the process waits for a lock of a file (/proc/locks marks those with "->"). */
async function waitsForLock(pid: number): Promise<void> {
  const deadlineMs = performance.now() + 10_000;
  while (!new RegExp(`-> FLOCK .* ${pid} `).test(readFileSync('/proc/locks', 'latin1'))) {
    if (performance.now() > deadlineMs) throw new Error(`process ${pid} does not wait for a lock`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
