/** The objects of a pool: the files are the truth, the index is a cache. */

import {
  copyFileSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { scanPool } from '#sealdisk/pool/scan.js';
import { rig } from '../cli/rig.js';

t.setTimeout(120_000);

const namesOf = async (dir: string) => (await scanPool(dir)).entries.map(({ name }) => name);

/** Reads the pool when its files have not changed for a while, so that the index may believe them. */
const scanLater = (dir: string) => scanPool(dir, Date.now() + 10_000);

t.test('finds what was made and what was copied in, and forgets what went', async (t) => {
  const { at, json } = rig(t);
  const dir = at('pool');
  await json('key', 'create', '--alias', 'bar');
  await json('create', 'one', '--size', '1M', '--key', 'alias/bar');
  await json('create', 'two', '--size', '1M', '--unencrypted', '--tag', 'team=storage');
  t.same(await namesOf(dir), ['one', 'two']);
  copyFileSync(join(dir, 'one'), join(dir, 'copied'));
  copyFileSync(join(dir, 'two.raw'), join(dir, 'bare.img'));
  writeFileSync(join(dir, 'notes.txt'), 'no object');
  mkdirSync(join(dir, 'folder'));
  const { entries, unreadable } = await scanPool(dir);
  t.same(
    entries.map(({ path }) => path.slice(dir.length + 1)).sort(),
    ['bare.img', 'copied', 'one', 'two.raw'],
    'a copy is found by what it says, a raw file without its label by its name',
  );
  t.same(unreadable, []);
  rmSync(join(dir, 'copied'));
  t.same(await namesOf(dir), ['bare', 'one', 'two']);
});

t.test('the index is believed for a file that is as it was, and for no other', async (t) => {
  const { at, json } = rig(t);
  const dir = at('pool');
  await json('create', 'one', '--size', '1M', '--unencrypted');
  await scanLater(dir);
  const index = join(dir, '.index.json');
  const text = readFileSync(index, 'utf8');
  t.match(text, /"one"/);
  writeFileSync(index, text.replaceAll('"name":"one"', '"name":"forged"'));
  t.same(await namesOf(dir), ['forged'], 'it saves a reading');
  const { atime } = statSync(join(dir, 'one.raw'));
  utimesSync(join(dir, 'one.raw'), atime, new Date(Date.now() + 5_000));
  t.same(await namesOf(dir), ['one'], 'a file that changed is read');
  for (const broken of ['', '{', '[]', '{"version":2,"files":{}}', '{"version":1,"files":null}']) {
    writeFileSync(index, broken);
    t.same(await namesOf(dir), ['one'], `an index of ${broken || 'nothing'} costs a reading`);
  }
  rmSync(index);
  t.same(await namesOf(dir), ['one']);
});

t.test('a damaged disk is told, not passed over', async (t) => {
  const { at, json } = rig(t);
  await json('key', 'create', '--alias', 'bar');
  const { path } = await json('create', 'one', '--size', '1M', '--key', 'alias/bar');
  const bytes = readFileSync(path);
  bytes.fill(0xff, 0x1000, 0x5000);
  writeFileSync(path, bytes);
  const found = await scanPool(at('pool'));
  t.same(found.entries, []);
  t.match(found.unreadable, [{ path, why: /checksum/ }]);
});

t.test('a pool that is not there is empty', async (t) => {
  t.same(await scanPool('/nonexistent/pool'), { entries: [], unreadable: [] });
});

t.test('ten thousand objects are listed by one look at each, once the index knows them', async (t) => {
  const { at, json } = rig(t);
  const dir = at('pool');
  await json('key', 'create', '--alias', 'bar');
  const { path } = await json('create', 'one', '--size', '4K', '--key', 'alias/bar');
  const header = readFileSync(path).subarray(0, 32_768);
  const { size } = statSync(path);
  for (let i = 1; i < 10_000; i++) {
    const copy = join(dir, `copy-${i}`);
    writeFileSync(copy, header);
    truncateSync(copy, size);
  }
  const beganMs = performance.now();
  t.equal((await scanLater(dir)).entries.length, 10_000);
  const readMs = performance.now();
  t.equal((await scanPool(dir)).entries.length, 10_000);
  const knownMs = performance.now();
  t.comment(`read in ${Math.round(readMs - beganMs)} ms, known in ${Math.round(knownMs - readMs)} ms`);
  t.ok(knownMs - readMs < readMs - beganMs, 'what is known is not read again');
});
