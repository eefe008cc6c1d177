/** Every plain disk of a pool becomes an encrypted one, whatever stops it on the way. */

import { randomBytes } from 'node:crypto';
import { copyFileSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { type EncryptAll, encryptAll, planEncryption, type Row } from '#sealdisk/attach/encrypt-all.js';
import { openBacking } from '#sealdisk/disk/backing.js';
import { readObject } from '#sealdisk/disk/object.js';
import { createPlain } from '#sealdisk/disk/plain.js';
import { readDisk } from '#sealdisk/disk/read.js';
import { relabelPlain } from '#sealdisk/disk/relabel.js';
import { withLock } from '#sealdisk/luks2/lock.js';
import { plaintextOf } from '../disk/plaintext.js';
import { diskRig, KEY_URI } from '../disk/rig.js';

const MIB = 1 << 20;

async function rig(t: Test) {
  const { poolDir, at } = await diskRig(t);
  process.env.SEALDISK_RUN = at('run');
  const plain = async (name: string, tags: Record<string, string> = {}, sizeBytes = MIB) => {
    const path = at(`${name}.raw`);
    await createPlain({ path, kind: 'disk', name, source: '', tags }, BigInt(sizeBytes));
    const bytes = randomBytes(sizeBytes);
    writeFileSync(path, bytes);
    return bytes;
  };
  const run = async (over: Partial<EncryptAll> = {}): Promise<Row[]> => {
    const how: EncryptAll = {
      match: {},
      keyUri: KEY_URI,
      parallel: 2,
      deletePlain: false,
      discard: false,
      environment: { poolDir, env: {} },
      signal: new AbortController().signal,
      onRow: () => {},
      onProgress: () => {},
      ...over,
    };
    return encryptAll((await planEncryption(poolDir, how)).planned, how);
  };
  const contentOf = async (path: string) => plaintextOf(await readDisk(path), poolDir);
  return { poolDir, at, plain, run, contentOf };
}

t.test(
  'each becomes an encrypted disk that takes its name over, and one that fails stops no other',
  async (t) => {
    const { at, plain, run, contentOf } = await rig(t);
    const one = await plain('one', { team: 'x', owner: 'ann' });
    await plain('two', { team: 'x' });
    await plain('other', { team: 'y' });
    const bare = randomBytes(MIB + 512);
    writeFileSync(at('bare.img'), bare);
    writeFileSync(at('two'), 'in the way');
    const rows = await run({ match: { team: 'x' } });
    t.match(rows, [
      { name: 'one', outcome: 'encrypted', newPath: at('one'), failure: null },
      { name: 'two', outcome: 'failed', newPath: null, failure: { code: 'DISK_EXISTS' } },
    ]);
    t.ok((await contentOf(at('one'))).equals(one));
    const made = await readObject(at('one'));
    t.match(made.label, { name: 'one', source: rows[0]?.id, tags: { team: 'x', owner: 'ann' } });
    t.match((await readObject(at('one.raw'))).label, { name: 'one.plain', object: { id: rows[0]?.id } });
    t.ok(readFileSync(at('one.raw')).equals(one), 'the plain file stays');

    rmSync(at('two'));
    const again = await run();
    t.match(
      again.map(({ name, outcome }) => [name, outcome]),
      [
        ['bare', 'encrypted'],
        ['one.plain', 'done before'],
        ['other', 'encrypted'],
        ['two', 'encrypted'],
      ],
      'a second run goes on where the first ended',
    );
    t.ok((await contentOf(at('bare'))).subarray(0, bare.length).equals(bare));
    t.not(again[0]?.id, (await readObject(at('bare.img'))).uuid);
  },
);

t.test('a file that has the name of one that was encrypted before is another disk', async (t) => {
  const { at, run } = await rig(t);
  writeFileSync(at('old.img'), randomBytes(MIB));
  await run();
  renameSync(at('old'), at('kept'));
  const next = randomBytes(MIB);
  rmSync(at('old.img'));
  writeFileSync(at('old.img'), next);
  t.match(await run({ deletePlain: true }), [
    { outcome: 'encrypted', newPath: at('old'), plainDeleted: true },
  ]);
});

t.test('killed between its two steps, the second is done by the next run', async (t) => {
  const { at, plain, run } = await rig(t);
  await plain('one');
  await run();
  relabelPlain(await readObject(at('one.raw')), { name: 'one' });
  t.match(await run(), [{ outcome: 'done before' }]);
  t.match((await readObject(at('one.raw'))).label, { name: 'one.plain' });
});

t.test('a plain disk is deleted only when the encrypted one was just compared with it', async (t) => {
  const { at, plain, run, contentOf } = await rig(t);
  const bytes = await plain('one');
  t.match(await run({ deletePlain: true }), [{ outcome: 'encrypted', plainDeleted: true }]);
  t.notOk(existsSync(at('one.raw')));
  t.ok((await contentOf(at('one'))).equals(bytes));

  const before = await plain('two');
  await run();
  copyFileSync(at('two.raw'), at('two.keep'));
  before[777_777] = (before[777_777] ?? 0) ^ 1;
  writeFileSync(at('two.raw'), before);
  t.match(await run({ deletePlain: true }), [
    { failure: { code: 'CONVERT_KEPT', message: /something else from byte 777777 on/ } },
  ]);
  t.ok(existsSync(at('two.raw')));
  copyFileSync(at('two.keep'), at('two.raw'));
  t.match(await run({ deletePlain: true }), [{ outcome: 'done before', plainDeleted: true }]);
  t.notOk(existsSync(at('two.raw')));
});

t.test('what is written to meanwhile by a program that asks for no lock is not deleted', async (t) => {
  const { at, plain, run } = await rig(t);
  const bytes = await plain('one', {}, 64 * MIB);
  const rows = await run({
    deletePlain: true,
    onProgress: (_, { phase }) => {
      if (phase === 'verify') writeFileSync(at('one.raw'), bytes);
    },
  });
  t.match(rows, [{ outcome: 'failed', failure: { code: 'CONVERT_KEPT', message: /meanwhile/ } }]);
  t.ok(existsSync(at('one.raw')));
});

t.test('what somebody holds, and what two files claim to be, is refused; nothing else is', async (t) => {
  const { at, plain, run } = await rig(t);
  await plain('held');
  await plain('free');
  // As whoever serves it does.
  const file = await openBacking(at('held.raw'), 'read');
  const rows = await withLock(file.fd, at('held.raw'), 'shared', () => run());
  await file.close();
  t.match(rows, [{ outcome: 'encrypted' }, { failure: { code: 'DISK_IN_USE' } }]);
  const { uuid, label } = await readObject(at('held.raw'));
  await plain('twin');
  relabelPlain({ ...(await readObject(at('twin.raw'))), uuid, label }, { name: 'twin' });
  const twins = (await run()).filter(({ name }) => ['twin', 'held'].includes(name));
  t.match(twins, [{ failure: { code: 'DISK_AMBIGUOUS' } }, { failure: { code: 'DISK_AMBIGUOUS' } }]);
});

t.test('told to stop, it ends what it does and begins no other; nothing half made is left', async (t) => {
  const { at, plain, run } = await rig(t);
  for (const name of ['a', 'b', 'c']) await plain(name, {}, 16 * MIB);
  const stop = new AbortController();
  const rows = await run({
    parallel: 1,
    signal: stop.signal,
    onRow: ({ name, outcome }) => {
      if (name === 'b' && outcome === 'working') stop.abort();
    },
  });
  t.match(rows, [
    { outcome: 'encrypted' },
    { outcome: 'failed', failure: { code: 'CONVERT_CANCELLED' } },
    { outcome: 'waiting' },
  ]);
  t.same([existsSync(at('b')), existsSync(at('c'))], [false, false]);
  t.match(
    (await run()).map(({ outcome }) => outcome),
    ['done before', 'encrypted', 'encrypted'],
  );
});
