/** sealdisk create: what it makes, what it refuses, and that a refusal leaves everything as it was. */

import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import t from 'tap';
import { MAIN, names, rig } from './rig.js';

t.setTimeout(110_000);

t.test('makes a disk with every option, and info says so', async (t) => {
  const { at, json } = rig(t);
  const key = await json('key', 'create', '--alias', 'bar');
  const options = ['--sector-size', '512', '--name', 'größe', '--tag', 'a=1', '--tag', 'b=x=y'];
  const made = await json('create', at('d'), '--size', '10M', '--key', 'alias/bar', ...options);
  t.match(made, { path: at('d'), sizeBytes: '10485760', sectorSize: 512, keyUri: 'local:alias/bar' });
  t.equal(statSync(at('d')).size, (16 + 10) << 20);
  t.equal(statSync(at('d')).mode & 0o777, 0o600);
  t.match(await json('info', at('d')), {
    uuid: made.uuid,
    path: at('d'),
    name: 'größe',
    sizeBytes: '10485760',
    sectorSize: 512,
    tags: { a: '1', b: 'x=y' },
    keyUri: 'local:alias/bar',
    keyId: key.keyId,
    headerCopies: 'good',
    device: null,
    serverPid: null,
    gate: null,
  });
});

t.test('takes the service key by default, which comes into being by itself', async (t) => {
  const { at, json } = rig(t);
  t.match(await json('create', at('d'), '--size', '64K'), { keyUri: 'local:alias/acs/ecs' });
  t.match(await json('key', 'list'), [{ aliases: ['alias/acs/ecs'], state: 'enabled', serviceKey: true }]);
});

t.test('a size means what qemu-img and cryptsetup mean, rounded up to a sector', async (t) => {
  const { at, json } = rig(t);
  const table = { '1M': 1 << 20, '1.5M': 1536 << 10, '1MiB': 1 << 20, '1MB': 1_003_520, '1': 4096 };
  for (const [size, bytes] of Object.entries(table)) {
    t.match(await json('create', at(size), '--size', size), { sizeBytes: `${bytes}` }, size);
  }
});

t.test('refuses what exists, and leaves it untouched', async (t) => {
  const { dir, at, sealdisk } = rig(t);
  writeFileSync(at('file'), 'mine');
  symlinkSync('nowhere', at('dangling'));
  mkdirSync(at('folder'));
  execFileSync('mkfifo', [at('fifo')]);
  const before = names(dir);
  for (const name of ['file', 'dangling', 'folder', 'fifo']) {
    const { code, err } = await sealdisk('create', at(name), '--size', '1M');
    t.equal(code, 8, name);
    t.match(err, /^sealdisk: .* already exists; .* \[DISK_EXISTS\]\n$/);
  }
  t.same(names(dir), before, 'not even a KMS was made');
  t.equal(readFileSync(at('file'), 'utf8'), 'mine');
});

t.test('bad input is refused with its code and changes nothing', async (t) => {
  const { dir, at, sealdisk, json } = rig(t);
  await json('key', 'create', '--alias', 'off');
  await json('key', 'disable', 'alias/off');
  writeFileSync(at('file'), '');
  const before = names(dir);
  const refusals: [number, RegExp, string, string[]][] = [
    [2, /is not a size/, 'd', ['--size', '0']],
    [2, /is not a size/, 'd', ['--size', '64Q']],
    [2, /is not a size/, 'd', ['--size', '-1M']],
    [2, /expected --size, or --from/, 'd', []],
    [2, /Allowed choices are 512, 4096/, 'd', ['--size', '1M', '--sector-size', '1024']],
    [2, /Expected key=value/, 'd', ['--size', '1M', '--tag', 'novalue']],
    [2, /KEY_URI_SCHEME/, 'd', ['--size', '1M', '--key', 'gopher:x']],
    [2, /KEY_URI_SYNTAX/, 'd', ['--size', '1M', '--key', 'local:']],
    [2, /KEY_URI_SYNTAX/, 'd', ['--size', '1M', '--key', 'alias/off?pin=1']],
    [2, /DISK_LABEL/, 'd', ['--size', '1M', '--name', 'two\nlines']],
    [2, /DISK_LABEL/, 'd', ['--size', '1M', '--name', 'x'.repeat(256)]],
    [2, /DISK_LABEL/, 'd', ['--size', '1M', '--tag', `k=${'x'.repeat(257)}`]],
    [2, /unknown option '--bogus'/, 'd', ['--size', '1M', '--bogus']],
    [2, /too many arguments/, 'd', ['e', '--size', '1M']],
    [5, /local:alias\/off is disabled; .*KMS_KEY_DISABLED/, 'd', ['--size', '1M', '--key', 'alias/off']],
    [5, /KMS_KEY_NOT_FOUND/, 'd', ['--size', '1M', '--key', 'alias/none']],
    [9, /nowhere\/d: ENOENT; .*DISK_IO/, 'nowhere/d', ['--size', '1M']],
    [9, /file\/d: ENOTDIR; .*DISK_IO/, 'file/d', ['--size', '1M']],
    [9, /\/d: EFBIG; .*DISK_IO/, 'd', ['--size', '9P']],
  ];
  for (const [code, line, name, options] of refusals) {
    const ran = await sealdisk('create', at(name), ...options);
    const what = options.join(' ').slice(0, 60);
    t.equal(ran.code, code, what);
    t.match(ran.err, line, what);
    t.equal(ran.err.split('\n').length, 2, `one line: ${ran.err}`);
    t.equal(ran.out, '');
    t.same(names(dir), before, what);
  }
});

t.test('a folder that may not be written is left as it is', async (t) => {
  const { dir, at, env } = rig(t);
  mkdirSync(at('locked'));
  chmodSync(at('locked'), 0o555);
  chmodSync(dir, 0o755);
  mkdirSync(at('pool'), { mode: 0o777 });
  chmodSync(at('pool'), 0o777);
  // Rights do not bind root.
  const asNobody = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};
  const args = [MAIN, 'create', at('locked/d'), '--size', '1M'];
  const ran = spawnSync(process.execPath, args, { env, encoding: 'utf8', ...asNobody });
  t.equal(ran.status, 9, ran.stderr);
  t.match(ran.stderr, /locked\/d: EACCES; .*\[DISK_IO\]/);
  t.same(names(dir), ['locked', 'pool']);
});

t.test('an asymmetric key is made, and refused for a disk', async (t) => {
  const { at, sealdisk, json } = rig(t);
  await json('key', 'create', '--alias', 'rsa', '--spec', 'RSA_2048');
  const { code, err } = await sealdisk('create', at('d'), '--size', '1M', '--key', 'alias/rsa');
  t.equal(code, 7);
  t.match(err, /is RSA_2048, expected AES_256; use a symmetric key \[KMS_UNSUPPORTED_KEY\]/);
  t.notOk(existsSync(at('d')));
  t.match(await sealdisk('key', 'create', '--spec', 'DES'), {
    code: 2,
    err: /Allowed choices are AES_256, RSA_2048/,
  });
});

t.test('-v shows the cause of an error, and nothing else does', async (t) => {
  const { at, sealdisk } = rig(t);
  const quiet = await sealdisk('info', at('none'));
  const verbose = await sealdisk('info', at('none'), '-v');
  t.match(quiet, { code: 3, err: /^sealdisk: .*none: no such disk; .* \[DISK_NOT_FOUND\]\n$/ });
  t.ok(verbose.err.startsWith(quiet.err), 'the same line first');
  t.match(verbose.err, /ENOENT: no such file or directory, open/);
});
