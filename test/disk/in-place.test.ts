/** Conversions in place: every byte, each cut of the beginning, cryptsetup that finishes, and what is refused. */

import { createHash, randomBytes } from 'node:crypto';
import { closeSync, openSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { conversionOn } from '#sealdisk/disk/conversion.js';
import { encryptTo } from '#sealdisk/disk/encrypt-to.js';
import { encryptInPlace, type Keys, rekey } from '#sealdisk/disk/in-place.js';
import { payloadOf } from '#sealdisk/disk/in-place-start.js';
import { readDisk } from '#sealdisk/disk/read.js';
import { openProvider } from '#sealdisk/kms/registry.js';
import { decodeConversion, encodeConversion } from '#sealdisk/luks2/conversion.js';
import { writeHeader } from '#sealdisk/luks2/copies.js';
import { MAIN, type Rig, rig, run } from '../cli/rig.js';
import { plaintextOf } from './plaintext.js';
import { diskRig, KEY_URI, TIMEOUT_MS } from './rig.js';

t.setTimeout(170_000);

const OPTIONS = { timeoutMs: TIMEOUT_MS };
const NAMED = { name: 'n', tags: { a: 'b' } };
const MIB = 1 << 20;
const CUTS_MAX = 40;

function keysOf(poolDir: string, keyUri = KEY_URI): Keys {
  const open = (uri: string) => openProvider(uri, { poolDir, env: {} });
  return { forNew: () => open(keyUri), forToken: (token) => open(token.keyUri) };
}

const sha256 = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

t.test(
  'a plain file of any length becomes a disk where it lies, longer by the room of its header',
  async (t) => {
    const { at, poolDir } = await diskRig(t);
    for (const sizeBytes of [1, 100_001, 16 * MIB, 16 * MIB + 4096, 40 * MIB]) {
      const plain = randomBytes(sizeBytes);
      writeFileSync(at('d'), plain);
      const sectorSize = sizeBytes % 4096 === 0 ? 4096 : 512;
      const target = { ...NAMED, sectorSize } as const;
      const done = await encryptInPlace(at('d'), target, keysOf(poolDir), OPTIONS);
      const disk = await readDisk(at('d'));
      t.match(disk, { sectorSize, token: { ...NAMED, keyUri: KEY_URI, object: { kind: 'disk' } } });
      t.match(done, { uuid: disk.header.uuid, resumed: false });
      t.equal(statSync(at('d')).size, 16 * MIB + Math.ceil(sizeBytes / sectorSize) * sectorSize);
      t.ok((await plaintextOf(disk, poolDir)).subarray(0, sizeBytes).equals(plain), `${sizeBytes} bytes`);
      const file = readFileSync(at('d'));
      t.notOk(
        sizeBytes > 16 && file.includes(plain.subarray(0, 64)),
        'its beginning stands nowhere in the clear',
      );
      t.match(await run('cryptsetup', ['luksDump', at('d')]), { code: 0, out: /Requirements|Data segments/ });
    }
  },
);

t.test(
  'another data key: under the same key or another one, with its holes, and the old one opens nothing',
  async (t) => {
    const { at, poolDir, kms, provider } = await diskRig(t);
    const plain = Buffer.concat([randomBytes(MIB), Buffer.alloc(20 * MIB), randomBytes(MIB)]);
    writeFileSync(at('plain'), '');
    const fd = openSync(at('plain'), 'r+');
    writeFileSync(fd, plain.subarray(0, MIB));
    closeSync(fd);
    await run('truncate', ['-s', `${plain.length}`, at('plain')]);
    plain.fill(0, 21 * MIB);
    await encryptTo(at('plain'), { path: at('d'), ...NAMED, discard: true }, await provider(), OPTIONS);
    const before = await readDisk(at('d'));
    await rekey(
      at('d'),
      {
        ...keysOf(poolDir),
        forNew: async (token) => openProvider(token?.keyUri ?? '', { poolDir, env: {} }),
      },
      OPTIONS,
    );
    const same = await readDisk(at('d'));
    t.match(same.token, { ...NAMED, keyUri: KEY_URI, generation: before.token.generation + 1, holes: true });
    t.notSame(
      Object.values(same.header.metadata.digests)[0]?.digest,
      Object.values(before.header.metadata.digests)[0]?.digest,
    );
    t.ok((await plaintextOf(same, poolDir)).equals(plain));
    t.ok(statSync(at('d')).blocks * 512 < 20 * MIB, 'holes are holes');
    await kms.createKey({ alias: 'alias/new' });
    await rekey(at('d'), keysOf(poolDir, 'local:alias/new'), OPTIONS);
    await kms.disableKey('alias/bar');
    const other = await readDisk(at('d'));
    t.match(other.token, { keyUri: 'local:alias/new', generation: 2 });
    t.ok((await plaintextOf(other, poolDir)).equals(plain));
    const area = readFileSync(at('d')).subarray(32_768, 16 * MIB);
    t.ok(
      area.every((byte) => byte === 0),
      'nothing is left in the journal',
    );
  },
);

/** Runs the command line, killed at the `nth` of the calls. */
async function cut({ env }: Rig, calls: string, nth: number, ...args: string[]) {
  const inject = ['-e', `trace=${calls}`, '-e', `inject=${calls}:signal=SIGKILL:when=${nth}`];
  const strace = ['-f', '-qq', '-o', '/dev/null', ...inject, process.execPath, MAIN, ...args];
  return run('strace', strace, { ...env, UV_THREADPOOL_SIZE: '1' });
}

async function keyAndPlain(t: Test, sizeBytes: number) {
  const one = rig(t);
  await one.json('key', 'create', '--alias', 'bar');
  const plain = randomBytes(sizeBytes);
  writeFileSync(one.at('d'), plain);
  return { ...one, one, plain, args: ['encrypt', '--in-place', one.at('d'), '--key', 'alias/bar'] };
}

t.test(
  'killed at any sync or change of length, encryption is gone on with, and no byte is lost',
  async (t) => {
    const { one, at, plain, args, dir } = await keyAndPlain(t, 17 * MIB);
    const seen = new Set<string>();
    let nth = 1;
    for (; nth < CUTS_MAX; nth++) {
      writeFileSync(at('d'), plain);
      const { code } = await cut(one, 'fdatasync,fsync,ftruncate', nth, ...args);
      if (code === 0) break;
      const state = await readDisk(at('d')).then(
        () => 'disk',
        (error) => error.code,
      );
      seen.add(state);
      await encryptInPlace(at('d'), NAMED, keysOf(`${dir}/pool`), OPTIONS).catch((error) => {
        // Whole by then.
        if (error.code !== 'CONVERT_NOT_PLAIN') throw error;
      });
      const clear = await plaintextOf(await readDisk(at('d')), `${dir}/pool`);
      t.ok(clear.equals(plain), `cut at call ${nth}, ${state}`);
    }
    t.ok(nth > 10 && nth < CUTS_MAX, `${nth - 1} cuts`);
    t.ok(seen.has('CONVERT_UNFINISHED') && seen.has('LUKS2_NOT_LUKS'), [...seen].join(' '));
  },
);

t.test('a beginning that fails puts the plain file back as it was', async (t) => {
  const { env, at, args } = await keyAndPlain(t, 100_001);
  const before = sha256(at('d'));
  const inject = ['-f', '-qq', '-o', '/dev/null', '-P', at('d'), '-e', 'trace=pwrite64'];
  for (const nth of [1, 2, 3, 4]) {
    const fault = ['-e', `inject=pwrite64:error=ENOSPC:when=${nth}`];
    const ran = await run('strace', [...inject, ...fault, process.execPath, MAIN, ...args], {
      ...env,
      UV_THREADPOOL_SIZE: '1',
    });
    t.match(ran, { code: 9, err: /ENOSPC/ });
    t.equal(sha256(at('d')), before);
  }
});

t.test('cryptsetup shows a conversion and, with a passphrase, finishes it', async (t) => {
  const { one, at, plain, args, dir, sealdisk, json } = await keyAndPlain(t, 60 * MIB);
  writeFileSync(at('passphrase'), 'correct horse');
  await cut(one, 'fdatasync', 13, ...args, '--passphrase-file', at('passphrase'));
  const dump = await run('cryptsetup', ['luksDump', at('d')]);
  t.match(dump.out, /online-reencrypt-v2/);
  t.match(dump.out, /backup-moved-segment/);
  for (const words of [
    ['info', at('d')],
    ['serve', at('d'), '--socket', at('s')],
    ['resize', at('d'), '--size', '+1M'],
  ]) {
    t.match(await sealdisk(...words), {
      code: 4,
      err: /in the middle of its encryption \(\d+ % done\); run sealdisk encrypt --in-place/,
    });
  }
  const resume = [
    '-q',
    'reencrypt',
    '--resume-only',
    '--force-offline-reencrypt',
    '--key-file',
    at('passphrase'),
    at('d'),
  ];
  t.match(await run('cryptsetup', resume), { code: 0 });
  t.match(await sealdisk('info', at('d')), { code: 4, err: /another program ended/ });
  t.match(await json(...args), { resumed: true });
  const clear = await plaintextOf(await readDisk(at('d')), `${dir}/pool`);
  t.ok(clear.subarray(0, plain.length).equals(plain));
  t.match(await sealdisk('recover', 'check', at('d'), '--passphrase-file', at('passphrase')), { code: 0 });
  t.match(await sealdisk('rekey', at('d')), {
    code: 4,
    err: /recovery passphrases open the present data key only/,
  });
});

t.test('a record that somebody twisted is not gone on with', async (t) => {
  const { one, at, args, dir } = await keyAndPlain(t, 40 * MIB);
  await cut(one, 'fdatasync', 12, ...args);
  const fd = openSync(at('d'), 'r+');
  const found = await conversionOn(fd, at('d'));
  if (found?.kind !== 'ours') return t.fail('it is converting');
  const { conversion } = found;
  const layout = { ...conversion.layout, boundaryBytes: conversion.layout.payloadBytes };
  await writeHeader(fd, at('d'), encodeConversion({ ...conversion, layout }), (raw) =>
    decodeConversion(raw, at('d')),
  );
  closeSync(fd);
  const before = sha256(at('d'));
  await t.rejects(encryptInPlace(at('d'), NAMED, keysOf(`${dir}/pool`), OPTIONS), {
    code: 'CONVERT_FOREIGN',
    message: /does not match the data key/,
  });
  t.equal(sha256(at('d')), before);
});

t.test('what cannot be converted is refused, and stays as it is', async (t) => {
  const { create, poolDir, at } = await diskRig(t);
  const disk = await create('disk');
  writeFileSync(at('empty'), '');
  const again = (path: string) => encryptInPlace(path, NAMED, keysOf(poolDir), OPTIONS);
  await t.rejects(again(disk.path), { code: 'CONVERT_NOT_PLAIN', message: /a LUKS volume already/ });
  await t.rejects(again(at('empty')), { code: 'CONVERT_NOT_PLAIN' });
  await t.rejects(rekey(at('empty'), keysOf(poolDir), OPTIONS), { code: 'LUKS2_NOT_LUKS' });
  await t.rejects(again(at('none')), { code: 'DISK_NOT_FOUND' });
  const device = {
    path: '/dev/x',
    file: undefined as never,
    sizeBytes: BigInt(100 * MIB) + 512n,
    isDevice: true,
  };
  t.throws(() => payloadOf(device, 4096, undefined), {
    code: 'CONVERT_REFUSED',
    message: /--reduce-device-size 32M/,
  });
  t.throws(() => payloadOf(device, 4096, BigInt(16 * MIB)), { code: 'CONVERT_REFUSED' });
  t.throws(() => payloadOf({ ...device, sizeBytes: BigInt(32 * MIB) }, 4096, BigInt(32 * MIB)), {
    code: 'CONVERT_REFUSED',
  });
  t.equal(payloadOf(device, 4096, BigInt(32 * MIB)), BigInt(68 * MIB));
});
