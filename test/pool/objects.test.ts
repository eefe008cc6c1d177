/** Objects by name and id, and what is made of what. */

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { MAIN, type Rig, rig, run } from '../cli/rig.js';

t.setTimeout(170_000);

const MIB = 1024 * 1024;

/** What a disk holds, read by nbdcopy from `sealdisk serve`. */
async function contentOf({ at, serve }: Rig, disk: string): Promise<Buffer> {
  const server = await serve(disk, '--socket', at('s'), '--read-only');
  const ran = await run('nbdcopy', [server.uri, at('content')]);
  if (ran.code !== 0) throw new Error(ran.err);
  await server.stop();
  return readFileSync(at('content'));
}

async function fill({ at, serve }: Rig, disk: string, bytes: Buffer): Promise<void> {
  writeFileSync(at('bytes'), bytes);
  const server = await serve(disk, '--socket', at('s'));
  const ran = await run('nbdcopy', ['--flush', at('bytes'), server.uri]);
  if (ran.code !== 0) throw new Error(ran.err);
  await server.stop();
}

t.test('a snapshot keeps what its disk held, and disks are made of it', async (t) => {
  const r = rig(t);
  const { json, sealdisk } = r;
  await json('key', 'create', '--alias', 'bar');
  const disk = await json('create', 'data', '--size', '2M', '--key', 'alias/bar', '--tag', 'owner=ann');
  const before = randomBytes(2 * MIB);
  await fill(r, 'data', before);
  const monday = await json('snapshot', 'create', 'data', '--name', 'monday');
  t.match(monday, { kind: 'snapshot', id: /^s-[0-9a-f]{20}$/, keyUri: 'local:alias/bar' });
  const after = randomBytes(2 * MIB);
  await fill(r, 'data', after);
  t.ok((await contentOf(r, 'monday')).equals(before), 'by its name');
  t.ok((await contentOf(r, monday.id)).equals(before), 'by its id');

  await json('create', 'bigger', '--from', 'monday', '--size', '3M');
  const grown = await contentOf(r, 'bigger');
  t.equal(grown.length, 3 * MIB);
  t.ok(grown.subarray(0, 2 * MIB).equals(before));
  t.match(await sealdisk('create', 'less', '--from', 'monday', '--size', '1M'), {
    code: 4,
    err: /fewer than/,
  });

  const server = await r.serve('data', '--socket', r.at('s'));
  t.match(await sealdisk('snapshot', 'restore', 'monday', 'data', '--yes'), { code: 8, err: /in service/ });
  await server.stop();
  await json('snapshot', 'restore', 'monday', 'data', '--yes');
  t.ok((await contentOf(r, 'data')).equals(before), 'and back');
  t.match(await json('info', 'data'), { uuid: disk.uuid, tags: { owner: 'ann' }, kind: 'disk' });
  t.match(await json('snapshot', 'list'), [{ name: 'monday', source: /^d-/, tags: { owner: 'ann' } }]);
});

t.test('a data key is shared under one key by one owner, and never beyond', async (t) => {
  const r = rig(t);
  const { json, at } = r;
  for (const alias of ['bar', 'other']) await json('key', 'create', '--alias', alias);
  await json('create', 'data', '--size', '1M', '--key', 'alias/bar', '--tag', 'owner=ann');
  const bytes = randomBytes(MIB);
  await fill(r, 'data', bytes);
  await json('snapshot', 'create', 'data', '--name', 'monday');
  await json('create', 'hers', '--from', 'monday');
  await json('create', 'his', '--from', 'monday', '--tag', 'owner=bob');
  const server = await r.serve('data', '--socket', at('s'));
  const given = ['snapshot', 'create', 'data', '--name', 'given', '--tag', 'owner=bob'];
  t.match(
    await r.sealdisk(...given),
    { code: 8 },
    'what is enciphered anew is read whole, not while it is written',
  );
  t.notOk(existsSync(at('pool/given')));
  await server.stop();
  await json('snapshot', 'copy', 'monday', '--name', 'sealed', '--key', 'alias/other');
  const keyOf = async (name: string) => {
    await json('export-data-key', name, '--out', at(`${name}.key`), '--yes');
    return readFileSync(at(`${name}.key`), 'hex');
  };
  const own = await keyOf('data');
  t.equal(await keyOf('hers'), own);
  t.not(await keyOf('his'), own, 'another owner');
  const sealed = await keyOf('sealed');
  t.not(sealed, own, 'another key');
  await json('key', 'alias', 'update', 'bar', 'local:alias/other');
  await json('snapshot', 'copy', 'monday', '--name', 'moved', '--key', 'alias/bar');
  t.not(await keyOf('moved'), own, 'a label that is another key by now');
  const again = await json('snapshot', 'copy', 'sealed', '--name', 'again', '--key', 'alias/bar');
  t.equal(await keyOf('again'), sealed, `the same key by another name (${again.keyUri})`);
  for (const name of ['hers', 'his', 'sealed', 'moved']) t.ok((await contentOf(r, name)).equals(bytes), name);
});

t.test('a plain snapshot becomes an encrypted one, and nothing encrypted becomes plain', async (t) => {
  const r = rig(t);
  const { json, sealdisk, at } = r;
  await json('key', 'create', '--alias', 'bar');
  const { path } = await json('create', 'old', '--size', '1M', '--unencrypted', '--tag', 'team=x');
  const bytes = randomBytes(MIB);
  await fill(r, 'old', bytes);
  t.ok(readFileSync(path).equals(bytes), 'a plain disk is a raw file');
  await json('snapshot', 'create', 'old', '--name', 'moment');
  await json('snapshot', 'copy', 'moment', '--name', 'sealed', '--key', 'alias/bar');
  await json('create', 'new', '--from', 'sealed');
  t.ok((await contentOf(r, 'new')).equals(bytes));
  t.match(await json('list'), [
    { name: 'new', encrypted: true },
    { name: 'old', encrypted: false, tags: { team: 'x' } },
  ]);
  t.match(await sealdisk('create', 'x', '--from', 'sealed', '--unencrypted'), { code: 2 });
  t.match(await sealdisk('import', at('pool/new'), '--name', 'x'), {
    code: 4,
    err: /it is an encrypted disk/,
  });
  t.notOk(existsSync(at('pool/x.raw')));
});

t.test('rename, tag and delete', async (t) => {
  const r = rig(t);
  const { json, sealdisk, at } = r;
  await json('key', 'create', '--alias', 'bar');
  await json('create', 'data', '--size', '1M', '--key', 'alias/bar', '--tag', 'a=b');
  const server = await r.serve('data', '--socket', at('s'));
  t.match(await json('rename', 'data', 'kept'), { name: 'kept' }, 'in service, too');
  t.match(await sealdisk('delete', 'kept', '--yes'), { code: 8, err: /is in service/ });
  await server.stop();
  t.match(await json('tag', 'kept', 'a-', 'team=storage'), { tags: { team: 'storage' } });
  t.match(await sealdisk('delete', 'kept'), { code: 2 }, 'it asks');
  await json('snapshot', 'create', 'kept', '--name', 'monday');
  const fd = openSync(at('pool/data'), 'r');
  await json('delete', 'kept', '--crypto-erase', '--yes');
  const left = readFileSync(fd).subarray(0, 32_768);
  closeSync(fd);
  t.ok(left.equals(Buffer.alloc(32_768)), 'the wrapped key went before the name');
  t.match(await json('info', 'monday'), { headerCopies: 'good' }, 'a snapshot stands by itself');
  t.match(await sealdisk('info', 'kept'), { code: 3, err: /no such disk/ });
});

t.test('a word that names two objects is refused, and says which', async (t) => {
  const { json, sealdisk, at } = rig(t);
  const one = await json('create', 'one', '--size', '1M', '--unencrypted');
  execFileSync('cp', ['--preserve=xattr', one.path, at('pool/copy.raw')]);
  const { code, err } = await sealdisk('info', one.id);
  t.equal(code, 2);
  t.match(err, /one\.raw/);
  t.match(err, /copy\.raw/);
  t.match(await json('info', 'copy.raw'), { id: one.id }, 'by its file it is told apart');
});

t.test('killed at any call that makes something durable, a snapshot is whole or not there', async (t) => {
  const { at, env, json } = rig(t);
  await json('key', 'create', '--alias', 'bar');
  await json('create', 'data', '--size', '1M', '--key', 'alias/bar');
  const making = ['snapshot', 'create', 'data', '--name', 'monday'];
  for (const call of ['fdatasync', 'fsync', 'link']) {
    let cut = 0;
    for (; cut < 12; cut++) {
      const inject = ['-e', `trace=${call}`, '-e', `inject=${call}:signal=SIGKILL:when=${cut + 1}`];
      const strace = ['-f', '-qq', '-o', '/dev/null', ...inject, process.execPath, MAIN, ...making];
      const { code } = await run('strace', strace, { ...env, UV_THREADPOOL_SIZE: '1' });
      if (existsSync(at('pool/monday'))) t.match(await json('info', 'monday'), { headerCopies: 'good' });
      if (code === 0) break;
      if (existsSync(at('pool/monday'))) await json('snapshot', 'delete', 'monday', '--yes');
    }
    t.ok(cut > 0 && cut < 12, `${cut} calls of ${call} were cut`);
    await json('snapshot', 'delete', 'monday', '--yes');
  }
  const left = readdirSync(at('pool')).filter((name) => name.startsWith('.monday'));
  t.same(left, [], 'nothing is left aside');
});
