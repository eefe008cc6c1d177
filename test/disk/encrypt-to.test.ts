/** Copies that end encrypted: every byte, holes, another key, what is refused, and what a kill leaves. */

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import t, { type Test } from 'tap';
import { encryptTo, reencryptTo } from '#sealdisk/disk/encrypt-to.js';
import { readDisk } from '#sealdisk/disk/read.js';
import { openProvider } from '#sealdisk/kms/registry.js';
import { MAIN, names, rig, run } from '../cli/rig.js';
import { sealed } from '../engine/xts.js';
import { plaintextOf } from './plaintext.js';
import { diskRig, TIMEOUT_MS } from './rig.js';

t.setTimeout(60_000);

const PAYLOAD_AT = 16 << 20;
const OPTIONS = { timeoutMs: TIMEOUT_MS };
const target = (path: string, discard = false) => ({ path, name: 'n', tags: { a: 'b' }, discard });

function sparseFile(t: Test, path: string, sizeBytes: number): Buffer {
  const data = randomBytes(200_000);
  writeFileSync(path, '');
  truncateSync(path, sizeBytes);
  const fd = openSync(path, 'r+');
  writeSync(fd, data, 0, data.length, 5 << 20);
  closeSync(fd);
  t.ok(statSync(path).blocks * 512 < sizeBytes / 4, 'it has holes');
  return readFileSync(path);
}

t.test('a plain file becomes a disk, to the byte, whatever its length; and the file stays', async (t) => {
  const { at, provider, poolDir } = await diskRig(t);
  for (const [name, sizeBytes, sectorSize] of [
    ['even', 3 << 20, 512],
    ['sectors', (1 << 20) + 512, 512],
    ['odd', 100_001, 512],
  ] as const) {
    const plain = randomBytes(sizeBytes);
    writeFileSync(at(`${name}.img`), plain);
    const made = await encryptTo(at(`${name}.img`), target(at(name)), await provider(), OPTIONS);
    const disk = await readDisk(at(name));
    t.match(disk, { sectorSize, header: { uuid: made.uuid }, token: { name: 'n', tags: { a: 'b' } } });
    const clear = await plaintextOf(disk, poolDir);
    t.ok(clear.subarray(0, sizeBytes).equals(plain), name);
    t.ok(
      clear.subarray(sizeBytes).every((byte) => byte === 0),
      'then zeros to the end of the sector',
    );
    t.notOk(readFileSync(at(name)).includes(plain.subarray(0, 4096)));
    t.ok(readFileSync(at(`${name}.img`)).equals(plain));
  }
});

t.test('holes stay holes where the disk may have them, and are encrypted zeros where not', async (t) => {
  const { at, provider, poolDir } = await diskRig(t);
  const plain = sparseFile(t, at('plain'), 16 << 20);
  for (const discard of [true, false]) {
    const path = at(`d${discard}`);
    await encryptTo(at('plain'), target(path, discard), await provider(), OPTIONS);
    const disk = await readDisk(path);
    t.equal(disk.holes, discard);
    t.ok((await plaintextOf(disk, poolDir)).equals(plain));
    const allocated = statSync(path).blocks * 512;
    t.ok(discard ? allocated < 1 << 20 : allocated > 16 << 20, `${allocated} bytes are allocated`);
  }
});

t.test('a copy under another key has a data key of its own, and the same bytes and holes', async (t) => {
  const { at, provider, poolDir, kms } = await diskRig(t);
  const plain = sparseFile(t, at('plain'), 16 << 20);
  await encryptTo(at('plain'), target(at('a'), true), await provider(), OPTIONS);
  await kms.createKey({ alias: 'alias/new' });
  const other = await openProvider('local:alias/new', { poolDir, env: {} });
  const source = await readDisk(at('a'));
  const wanted = {
    ...target(at('b'), true),
    kind: 'snapshot',
    source: 'd-1',
    sizeBytes: 20n << 20n,
  } as const;
  await reencryptTo(source, await provider(), wanted, other, OPTIONS);
  const copy = await readDisk(at('b'));
  t.match(copy.token, { keyUri: 'local:alias/new', object: { kind: 'snapshot' }, source: 'd-1' });
  t.notSame(copy.header.metadata.digests, source.header.metadata.digests);
  const clear = await plaintextOf(copy, poolDir);
  t.ok(clear.subarray(0, plain.length).equals(plain));
  t.ok(
    clear.subarray(plain.length).every((byte) => byte === 0),
    'what is more of it reads as zeros',
  );
  t.ok(statSync(at('b')).blocks * 512 < 1 << 20);
  t.notOk(
    readFileSync(at('b'))
      .subarray(21 << 20, 22 << 20)
      .equals(readFileSync(at('a')).subarray(21 << 20, 22 << 20)),
  );
});

t.test('what is no plain file, or in use, is refused by its own code, and leaves nothing', async (t) => {
  const { at, create, provider, poolDir } = await diskRig(t);
  await create('luks');
  writeFileSync(at('empty'), '');
  writeFileSync(at('used'), 'x'.repeat(4096));
  const before = names(poolDir);
  const to = async (path: string) => encryptTo(path, target(at('d')), await provider(), OPTIONS);
  await t.rejects(to(at('luks')), { code: 'CONVERT_NOT_PLAIN', message: /a LUKS volume already/ });
  await t.rejects(to(at('empty')), { code: 'CONVERT_NOT_PLAIN', message: /empty/ });
  await t.rejects(to(at('none')), { code: 'DISK_NOT_FOUND' });
  await t.rejects(to('/dev/null'), { code: 'DISK_IO', message: /ENOTBLK/ });
  await t.rejects(encryptTo(at('used'), target(at('luks')), await provider(), OPTIONS), {
    code: 'DISK_EXISTS',
  });
  const holder = spawn('flock', ['-s', at('used'), 'sh', '-c', 'echo held; read x'], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  await once(holder.stdout as NodeJS.ReadableStream, 'data');
  await t.rejects(to(at('used')), { code: 'DISK_IN_USE' });
  holder.stdin?.end();
  await once(holder, 'exit');
  const cancelled = encryptTo(at('used'), target(at('d')), await provider(), {
    ...OPTIONS,
    signal: AbortSignal.abort(),
  });
  await t.rejects(cancelled, { code: 'CONVERT_CANCELLED' });
  t.same(names(poolDir), before);
});

t.test(
  'the command line: what what it makes is what OpenSSL makes; a kill leaves nothing that the next run keeps',
  async (t) => {
    const { at, dir, env, json, sealdisk } = rig(t);
    await json('key', 'create', '--alias', 'bar');
    const plain = randomBytes(4 << 20);
    writeFileSync(at('plain'), plain);
    const args = ['encrypt', at('plain'), '--to', at('d'), '--key', 'alias/bar'];
    // Killed where it would have got its name: it is as whole as it can be without one.
    const inject = ['-f', '-qq', '-o', '/dev/null', '-e', 'trace=link', '-e', 'inject=link:signal=SIGKILL'];
    await run('strace', [...inject, process.execPath, MAIN, ...args], env);
    t.notOk(existsSync(at('d')));
    t.equal(names(dir).filter((name) => name.startsWith('.d.')).length, 1, 'the aside file is there');
    const made = await json(...args);
    t.match(made, { path: at('d'), sizeBytes: `${plain.length}`, keyUri: 'local:alias/bar' });
    t.same(
      names(dir).filter((name) => name.startsWith('.d.')),
      [],
    );
    t.match(await sealdisk('encrypt', at('plain')), { code: 2, err: /expected --to/ });
    await json('export-data-key', at('d'), '--out', at('key'), '--yes');
    t.ok(
      readFileSync(at('d'))
        .subarray(PAYLOAD_AT)
        .equals(sealed(plain, readFileSync(at('key')), 512)),
    );
    t.match(await run('cryptsetup', ['luksDump', at('d')]), { code: 0, out: /cipher: aes-xts-plain64/ });
  },
);
