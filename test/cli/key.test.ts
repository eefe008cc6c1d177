/** sealdisk key and export-data-key: names of a key, what the service key refuses, what is asked before it is done. */

import { readFileSync, statSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { MAIN, names, rig, run } from './rig.js';

t.setTimeout(110_000);

t.test('a key answers to its alias, its URI and its id, in every command', async (t) => {
  const { sealdisk, json } = rig(t);
  const { keyId } = await json('key', 'create', '--alias', 'bar');
  for (const name of ['alias/bar', 'local:alias/bar', keyId, `local:${keyId}`]) {
    t.match(await json('key', 'show', name), { keyId, aliases: ['alias/bar'], state: 'enabled', disks: [] });
  }
  t.match(await json('key', 'disable', keyId), { keyId, state: 'disabled' });
  t.match(await json('key', 'enable', 'local:alias/bar'), { keyId, state: 'enabled' });
  t.match(await sealdisk('key', 'show', 'alias/bar'), { code: 0, out: new RegExp(`key: +${keyId}\n`) });
  t.match(await sealdisk('key', 'show', 'bar'), { code: 2, err: /KEY_URI_SYNTAX/ });
  t.match(await sealdisk('key', 'show', 'alias/none'), { code: 5, err: /KMS_KEY_NOT_FOUND/ });
});

t.test('lists keys, for people and for scripts', async (t) => {
  const { sealdisk, json } = rig(t);
  t.same(await json('key', 'list'), [], 'none before the first');
  const { keyId } = await json('key', 'create', '--alias', 'alias/bar', '--description', 'for a test');
  t.match(await json('key', 'list'), [{ keyId, state: 'enabled', description: 'for a test' }]);
  t.match(await sealdisk('key', 'list'), { out: new RegExp(`^KEY ID .*\n${keyId}  enabled +alias/bar +2`) });
  t.match(await sealdisk('key', 'create'), { code: 0, out: /^[0-9a-f-]{36}\n$/ }, 'prints the id alone');
});

t.test('an alias is taken once, and must be one', async (t) => {
  const { dir, sealdisk, json } = rig(t);
  await json('key', 'create', '--alias', 'bar');
  const before = names(dir);
  t.match(await sealdisk('key', 'create', '--alias', 'bar'), { code: 8, err: /KMS_ALIAS_TAKEN/ });
  t.match(await sealdisk('key', 'create', '--alias', 'a b'), { code: 2, err: /KMS_ALIAS_SYNTAX/ });
  t.match(await sealdisk('key', 'create', '--alias', 'acs/mine'), { code: 2, err: /KMS_ALIAS_SYNTAX/ });
  t.same(names(dir), before);
});

t.test('the service key is not disabled by hand', async (t) => {
  const { at, sealdisk, json } = rig(t);
  await json('create', at('d'), '--size', '1M');
  const { code, err } = await sealdisk('key', 'disable', 'alias/acs/ecs', '--yes');
  t.equal(code, 4);
  t.match(err, /\[KMS_SERVICE_KEY\]\n$/);
  t.match(await json('key', 'show', 'alias/acs/ecs'), { state: 'enabled', serviceKey: true });
});

t.test('disabling a key with disks in service lists them and asks', async (t) => {
  const { at, disk, serve, sealdisk, json } = rig(t);
  const path = await disk('bar');
  const server = await serve(path, '--socket', at('s'), '--on-key-loss', 'fail');
  t.match(await json('key', 'show', 'alias/bar'), { disks: [path] });
  const asked = await sealdisk('key', 'disable', 'alias/bar');
  t.match(asked, { code: 2, out: '', err: /NOT_CONFIRMED/ }, 'nobody is there to answer');
  t.match(asked.err, `in service: ${path} (${server.uri}), on key loss: fail\n`);
  t.match(await json('key', 'show', 'alias/bar'), { state: 'enabled' }, 'nothing was changed');
  t.match(await json('key', 'disable', 'alias/bar', '--yes'), { state: 'disabled' });
  t.match(await server.event('key_lost'), { gate: 'failed', code: 'KMS_KEY_DISABLED' });
  const said = { gate: 'failed', reason: 'key local:alias/bar is disabled' };
  t.match(await json('list'), [{ path, keyUri: 'local:alias/bar', serverPid: server.pid, ...said }]);
  t.match(await json('info', path), { address: server.uri, device: null, onKeyLoss: 'fail', ...said });
  t.match(await server.stop(), { code: 0 }, 'a failed disk ends as any other');
  t.same(await json('list'), []);
  const unserved = await sealdisk('key', 'disable', 'alias/bar');
  t.match(unserved, { code: 0 }, 'a file outside of the pool is not known when it is not in service');
});

t.test('on a terminal the question is asked, and only yes is yes', async (t) => {
  const { at, env, disk, serve, json } = rig(t);
  const server = await serve(await disk('bar'), '--socket', at('s'));
  const answer = (word: string) =>
    // script(1) gives the command a terminal; what it is told stands in the pipe before it asks.
    run(
      'sh',
      ['-c', `echo ${word} | script -qec "${process.execPath} ${MAIN} key disable alias/bar" /dev/null`],
      env,
    );
  t.match(await answer('nay'), { code: 2, out: /Disable alias\/bar\? \[y\/N\]/ });
  t.match(await json('key', 'show', 'alias/bar'), { state: 'enabled' });
  t.match(await answer('y'), { code: 0 });
  t.match(await json('key', 'show', 'alias/bar'), { state: 'disabled' });
  await server.stop();
});

t.test('export-data-key asks, writes 64 bytes for its owner alone, and overwrites nothing', async (t) => {
  const { at, disk, sealdisk, json } = rig(t);
  const path = await disk('bar');
  const exporting = ['export-data-key', path, '--out', at('key')];
  t.match(await sealdisk(...exporting), { code: 2, err: /Whoever holds this file.*\n.*NOT_CONFIRMED/ });
  t.throws(() => statSync(at('key')), { code: 'ENOENT' });
  t.match(await sealdisk(...exporting, '--yes'), { code: 0, out: '' });
  t.equal(statSync(at('key')).size, 64);
  t.equal(statSync(at('key')).mode & 0o777, 0o600);
  const test = ['open', '--test-passphrase', '--key-size', '512', '--volume-key-file', at('key'), path];
  t.match(await run('cryptsetup', test), { code: 0 }, 'and cryptsetup opens with it');
  writeFileSync(at('mine'), 'mine');
  t.match(await sealdisk('export-data-key', path, '--out', at('mine'), '--yes'), { code: 8 });
  t.equal(readFileSync(at('mine'), 'utf8'), 'mine');
  await json('key', 'disable', 'alias/bar');
  const refused = await sealdisk('export-data-key', path, '--out', at('other'), '--yes');
  t.match(refused, { code: 5, err: /KMS_KEY_DISABLED/ });
  t.throws(() => statSync(at('other')), { code: 'ENOENT' });
});

t.test('names a key, labels it, and shows what it is', async (t) => {
  const { sealdisk, json } = rig(t);
  const { keyId } = await json(
    'key',
    'create',
    '--alias',
    'bar',
    '--tag',
    'team=a',
    '--rotate-every',
    '90',
    '--protect',
  );
  t.match(await json('key', 'alias', 'create', 'foo', 'alias/bar'), { alias: 'alias/foo', keyId });
  t.same(await json('key', 'alias', 'list', keyId), [
    { alias: 'alias/bar', keyId },
    { alias: 'alias/foo', keyId },
  ]);
  t.match(await sealdisk('key', 'alias', 'delete', 'foo'), { code: 0, out: '' });
  t.match(await sealdisk('key', 'alias', 'delete', 'foo'), { code: 3, err: /there is no alias\/foo;/ });
  await json('key', 'tag', 'alias/bar', '--tag', 'team=b', '--tag', 'use=x');
  const facts = { tags: { team: 'b' }, deletionProtection: true, rotation: { periodDays: 90 } };
  t.match(await json('key', 'untag', 'alias/bar', '--tag', 'use'), facts);
  t.match(await sealdisk('key', 'schedule-deletion', 'alias/bar'), { code: 4, err: /KMS_PROTECTED/ });
  const { out } = await sealdisk('key', 'show', 'alias/bar');
  t.match(out, /rotation: +every 90 days, next 20/);
  t.match(out, /protected: +from deletion\n/);
  t.match(await json('key', 'rotate', 'alias/bar'), { primaryVersion: '2' });
});

t.test('imports the material that OpenSSL wrapped, and wraps disks with it', async (t) => {
  const { at, env, sealdisk, json } = rig(t);
  await json('key', 'create', '--alias', 'mine', '--origin', 'external');
  t.match(await sealdisk('create', at('d'), '--size', '1M', '--key', 'alias/mine'), { code: 5 });
  const { publicKey, importToken } = await json('key', 'import-parameters', 'alias/mine', '--out', at('in'));
  writeFileSync(at('material'), Buffer.alloc(32, 5));
  const oaep = ['rsa_padding_mode:oaep', 'rsa_oaep_md:sha256', 'rsa_mgf1_md:sha256'];
  const options = oaep.flatMap((option) => ['-pkeyopt', option]);
  const key = ['-pubin', '-keyform', 'DER', '-inkey', publicKey];
  const wrap = ['pkeyutl', '-encrypt', ...key, ...options, '-in', at('material'), '-out', at('wrapped')];
  t.match(await run('openssl', wrap, env), { code: 0 });
  const given = ['--material', at('wrapped'), '--token', importToken];
  t.match(await json('key', 'import', 'alias/mine', ...given), { state: 'enabled' });
  t.match(await json('create', at('pool/d'), '--size', '1M', '--key', 'alias/mine'), {});
  const asked = await sealdisk('key', 'delete-material', 'alias/mine');
  t.match(asked, { code: 2, err: new RegExp(`depends on it: ${at('pool/d')} \\(disk\\)`) });
  t.match(await json('key', 'delete-material', 'alias/mine', '--yes'), { state: 'pendingImport' });
  t.match(await json('key', 'usage', 'alias/mine'), {
    uses: [{ path: at('pool/d'), kind: 'disk', service: null }],
  });
  writeFileSync(at('other'), Buffer.alloc(32, 6));
  const other = await sealdisk('key', 'import', 'alias/mine', '--raw', at('other'));
  t.match(other, { code: 4, err: /KMS_IMPORT_MATERIAL/ }, 'only the same material comes back');
  const raw = ['--raw', at('material'), '--expires', '2999-01-01T00:00:00Z'];
  t.match(await json('key', 'import', 'alias/mine', ...raw), {
    state: 'enabled',
    materialExpiresAt: '2999-01-01T00:00:00.000Z',
  });
  t.match(await sealdisk('key', 'import', 'alias/mine', '--raw', at('wrapped')), {
    code: 2,
    err: /has 384 bytes, expected 32/,
  });
  t.match(await sealdisk('key', 'import', 'alias/mine', '--material', at('wrapped')), {
    code: 2,
    err: /USAGE/,
  });
  t.match(await sealdisk('key', 'import', 'alias/mine', '--material', at('none'), '--token', importToken), {
    code: 9,
    err: /none: ENOENT/,
  });
});
