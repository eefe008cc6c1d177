/** sealdisk rewrap as it is typed: one disk, a pool with disks of every kind, in service, and killed at any step. */

import { rmSync, truncateSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { createDisk } from '#sealdisk/disk/create.js';
import { unwrapDataKey } from '#sealdisk/disk/envelope.js';
import { readDisk } from '#sealdisk/disk/read.js';
import { openProvider } from '#sealdisk/kms/registry.js';
import { MAIN, type Rig, rig, run } from './rig.js';

t.setTimeout(110_000);

const TIMEOUT_MS = 10_000;

/** A disk in the pool, without a process. */
async function made(rig: Rig, name: string, alias: string): Promise<string> {
  const provider = await openProvider(alias, { poolDir: rig.at('pool'), env: {} });
  const path = rig.at(`pool/${name}`);
  const facts = { sizeBytes: 1n << 20n, sectorSize: 4096, name, tags: {}, discard: false } as const;
  await createDisk({ path, ...facts }, provider, TIMEOUT_MS);
  return path;
}

/** The version that the disk is under, once its KMS has opened it. */
async function opens(rig: Rig, path: string): Promise<string> {
  const { header, token } = await readDisk(path);
  const provider = await openProvider(token.keyUri, { poolDir: rig.at('pool'), env: {} });
  (await unwrapDataKey(header, provider, { timeoutMs: TIMEOUT_MS })).wipe();
  return token.keyVersion;
}

t.test(
  'every disk of the pool, in service or not; what one fails with does not stop the others',
  async (t) => {
    const r = rig(t);
    await r.kms.createKey({ alias: 'alias/one' });
    await r.kms.createKey({ alias: 'alias/off' });
    const [cut, off, plain, served] = [
      await made(r, 'a-cut', 'alias/one'),
      await made(r, 'b-off', 'alias/off'),
      await made(r, 'c-plain', 'alias/one'),
      await made(r, 'd-served', 'alias/one'),
    ];
    truncateSync(cut, (17 << 20) >> 1);
    writeFileSync(r.at('pool/e-other'), 'no disk');
    await r.kms.disableKey('alias/off');
    await r.kms.rotateKey('alias/one');
    const server = await r.serve(served, '--socket', r.at('s'));
    const { code, out } = await r.sealdisk('rewrap', '--all', '--json');
    t.equal(code, 4, 'the exit code of the first failure');
    t.match(JSON.parse(out), [
      { path: cut, error: { code: 'LUKS2_FITS' } },
      { path: off, error: { code: 'KMS_KEY_DISABLED' } },
      { path: plain, changed: true, keyVersion: '2' },
      { path: served, changed: true, keyVersion: '2' },
    ]);
    t.match(await server.event('rewrapped'), { keyVersion: '2' });
    t.same([await opens(r, plain), await opens(r, served)], ['2', '2']);
    const again = await r.sealdisk('rewrap', '--all');
    t.match(again, { code: 4, err: '' });
    t.match(again.out.split('\n'), [
      /a-cut: LUKS2 file size .*\[LUKS2_FITS\]/,
      /b-off: key .* is disabled; .*\[KMS_KEY_DISABLED\]/,
      /c-plain: under the newest version \(2\) of local:alias\/one already, nothing written/,
      /d-served: under the newest version \(2\)/,
      '',
    ]);
    await server.stop();
  },
);

t.test('words that do not fit are refused', async (t) => {
  const { sealdisk, at } = rig(t);
  t.match(await sealdisk('rewrap'), { code: 2, err: /expected a disk, or --all/ });
  t.match(await sealdisk('rewrap', at('none'), '--key', 'bogus:x'), { code: 2, err: /\[KEY_URI_SCHEME\]/ });
  t.match(await sealdisk('rewrap', '--all', '--pool', at('none')), { code: 9, err: /\[DISK_IO\]/ });
});

t.test('killed at any write of the header, it leaves a disk that opens', async (t) => {
  const r = rig(t);
  await r.kms.createKey({ alias: 'alias/one' });
  // strace counts the calls of each thread.
  const oneThread = { ...r.env, UV_THREADPOOL_SIZE: '1' };
  const steps = [
    ['pwrite64', 1],
    ['fdatasync', 1],
    ['pwrite64', 2],
    ['fdatasync', 2],
  ] as const;
  for (const [call, nth] of steps) {
    const path = await made(r, `${call}-${nth}`, 'alias/one');
    await r.kms.rotateKey('alias/one');
    const inject = ['-P', path, '-e', `trace=${call}`, '-e', `inject=${call}:signal=SIGKILL:when=${nth}`];
    const rewrapping = [process.execPath, MAIN, 'rewrap', path];
    const { code } = await run(
      'strace',
      ['-f', '-qq', '-o', '/dev/null', ...inject, ...rewrapping],
      oneThread,
    );
    t.equal(code, 'SIGKILL', `it was killed at ${call} ${nth}`);
    await opens(r, path);
    rmSync(path);
  }
});
