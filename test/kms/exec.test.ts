import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import t, { type Test } from 'tap';
import type { SealdiskError } from '#sealdisk/errors.js';
import { canRewrap } from '#sealdisk/kms/provider.js';
import { canonicalKeyUri, openProvider } from '#sealdisk/kms/registry.js';
import { providerContract, type Rig, rejectsWith } from './contract.js';
import { tempPool, until } from './pool.js';

const SOON = { timeoutMs: 10_000 };
const HASTY = { timeoutMs: 300 };
const CONTEXT = { 'sealdisk:disk': '6f9a8b5e-0c3e-4a52-9c50-3b1f0d3f9b01' };
const SECRET = 'c2VjcmV0LTQ3MTEtc2VjcmV0';
const WRAPPED = { keyId: 'k', keyVersion: '1', ciphertext: randomBytes(92) };

const open = (program: string, env: NodeJS.ProcessEnv = {}) =>
  openProvider(`exec://${program}?key=disks`, { poolDir: '/nonexistent', env, namedByOwner: true });

function programAt(path: string, text: string): string {
  writeFileSync(path, text, { mode: 0o755 });
  return path;
}

/** A program of these lines of shell; `$ask` is what it read. */
const shell = async (t: Test, ...lines: string[]): Promise<string> =>
  programAt(join(await tempPool(t), 'kms'), ['#!/bin/sh', 'read -r ask', ...lines, ''].join('\n'));

/** The program of docs/providers.md, whose file of keys is `keys`. */
function example(path: string, keys: string): string {
  const [, text = ''] = /```python\n(#!.*?)```/s.exec(readFileSync('docs/providers.md', 'utf8')) ?? [];
  return programAt(path, text.replace('/etc/my-kms.json', keys));
}

async function startRig(t: Test): Promise<Rig> {
  const dir = await tempPool(t);
  const keys = join(dir, 'my-kms.json');
  const material = randomBytes(64).toString('hex');
  const set = async (state: string) => writeFileSync(keys, JSON.stringify({ disks: [state, material] }));
  await set('enabled');
  const program = example(join(dir, 'my-kms'), keys);
  const provider = await open(program);
  return {
    provider,
    other: await open(program),
    disable: () => set('disabled'),
    enable: () => set('enabled'),
    stall: async () => stalled(program),
    tellsContext: false,
    costly: true,
    stop: () => provider.close(),
  };
}

/** The program never answers until the returned function is called. */
function stalled(program: string): () => Promise<void> {
  renameSync(program, `${program}.away`);
  programAt(program, '#!/bin/sh\nsleep 1000\n');
  return async () => renameSync(`${program}.away`, program);
}

t.test('the contract, by the example of the documentation', async (t) => providerContract(t, startRig));

t.test('takes every spelling of a key to one, and refuses what is none', async (t) => {
  const same = {
    'exec:///usr/local/bin/my-kms?key=a': 'exec:///usr/local/bin/my-kms?key=a',
    'EXEC:///a%20b/c?key=x%2Fy%26z': 'exec:///a%20b/c?key=x%2Fy%26z',
  };
  for (const [text, canonical] of Object.entries(same)) {
    t.equal(canonicalKeyUri(text), canonical);
    t.equal(canonicalKeyUri(canonical), canonical);
  }
  const none = [
    'exec:my-kms?key=a',
    'exec://host/usr/bin/my-kms?key=a',
    'exec:///?key=a',
    'exec:///usr/bin/../bin/sh?key=a',
    'exec:///usr//bin/my-kms?key=a',
    'exec:///usr/bin/%2e%2e/sh?key=a',
    'exec:///bin/a:b?key=a',
    'exec:///bin/a%0Ab?key=a',
    'exec:///usr/bin/my-kms',
    'exec:///usr/bin/my-kms?key=',
    'exec:///usr/bin/my-kms?key=a&arg=b',
    'exec:///usr/bin/my-kms?key=a&password=b4711',
  ];
  for (const text of none) {
    t.throws(() => canonicalKeyUri(text), { code: 'KEY_URI_SYNTAX', message: /^((?!4711).)*$/ }, text);
  }
});

t.test('runs nothing that a disk names and nobody here does', async (t) => {
  const dir = await tempPool(t);
  const ran = join(dir, 'ran');
  const program = programAt(
    join(dir, 'kms'),
    `#!/bin/sh\ntouch ${ran}\necho '{"keyId":"k","state":"enabled"}'\n`,
  );
  const byToken = (env: NodeJS.ProcessEnv) =>
    openProvider(`exec://${program}?key=disks`, { poolDir: dir, env });
  await t.rejects(byToken({}), { code: 'KMS_NOT_VOUCHED', message: new RegExp(program) });
  await t.rejects(byToken({ SEALDISK_EXEC_PROGRAMS: `${program}2:/usr/bin/x` }), { code: 'KMS_NOT_VOUCHED' });
  const provider = await byToken({ SEALDISK_EXEC_PROGRAMS: `/usr/bin/x:${program}` });
  t.equal((await provider.describeKey(undefined, SOON)).state, 'enabled');
});

t.test('runs nothing that others could have written', async (t) => {
  const dir = await tempPool(t);
  const folder = join(dir, 'bin');
  mkdirSync(folder);
  const program = programAt(join(folder, 'kms'), '#!/bin/sh\necho \'{"keyId":"k","state":"enabled"}\'\n');
  const refused = async (what: string, why: RegExp, path = program): Promise<void> => {
    const failure = await (await open(path)).describeKey(undefined, SOON).catch((error) => error);
    t.match(failure, { code: 'KMS_CONNECTION', message: why }, what);
  };
  const fine = async (): Promise<void> => {
    t.equal((await (await open(program)).describeKey(undefined, SOON)).state, 'enabled');
  };
  await fine();
  for (const [what, path, bad, good] of [
    ['a program that its group may write', program, 0o775, 0o755],
    ['a program that all may write', program, 0o757, 0o755],
    ['a folder that all may write', folder, 0o777, 0o755],
  ] as const) {
    chmodSync(path, bad);
    await refused(what, new RegExp(`${path} can be written by others`));
    chmodSync(path, good);
    await fine();
  }
  chmodSync(program, 0o644);
  await refused('what is no program', /EACCES/);
  chmodSync(program, 0o755);
  symlinkSync(folder, join(dir, 'link'));
  await refused('a path over a link', /symbolic link/, join(dir, 'link', 'kms'));
  await refused('a folder', /is no file/, folder);
  await refused('nothing', /ENOENT/, join(folder, 'gone'));
  if (process.getuid?.() === 0) {
    chownSync(folder, 65_534, 0);
    await refused('a folder of somebody else', /belongs to neither root nor us/);
    chownSync(folder, 0, 0);
  }
  await refused(
    'a script of an interpreter that is not there',
    /cannot be run \(ENOENT\)/,
    programAt(join(folder, 'x'), '#!/gone\n'),
  );
});

t.test('gives the program no argument, no environment but what is let through, and the line', async (t) => {
  const dir = await tempPool(t);
  const program = await shell(
    t,
    `{ echo "$#"; echo "$ask"; env | sort; pwd; cat; } >${dir}/seen`,
    "echo '{}'",
  );
  const env = {
    TOKEN: SECRET,
    KEEP: 'kept',
    ALSO: 'also',
    SEALDISK_EXEC_ENV: 'KEEP ALSO NONE',
    LD_PRELOAD: '/x',
  };
  const provider = await open(program, env);
  await rejectsWith(t, provider.unwrap(WRAPPED, { b: '2', a: '1' }, SOON), 'KMS_BAD_REPLY');
  const [words, line = '', ...rest] = readFileSync(join(dir, 'seen'), 'utf8').trim().split('\n');
  t.equal(words, '0');
  t.match(JSON.parse(line), {
    version: 1,
    operation: 'unwrap',
    key: 'disks',
    keyId: 'k',
    keyVersion: '1',
    ciphertext: WRAPPED.ciphertext.toString('base64'),
    context: { a: '1', b: '2' },
  });
  t.match(line, /"context":\{"a":"1","b":"2"\}/, 'sorted');
  const names = rest.filter((each) => each.includes('=')).map((each) => each.split('=')[0]);
  t.same(
    names.filter((name) => !['PWD', '_', 'SHLVL', 'OLDPWD'].includes(name ?? '')),
    ['ALSO', 'KEEP', 'LANG', 'PATH'],
  );
  t.equal(rest.at(-1), '/', 'and its input ends after the line');
});

t.test('every way in which a program can fail has its code, and tells no secret', async (t) => {
  const dir = await tempPool(t);
  const program = programAt(join(dir, 'kms'), `#!/bin/sh\nread -r ask\n. ${dir}/says\n`);
  const provider = await open(program);
  const errors = [
    'KMS_KEY_DISABLED',
    'KMS_KEY_PENDING_DELETION',
    'KMS_KEY_PENDING_IMPORT',
    'KMS_KEY_NOT_FOUND',
    'KMS_ACCESS_DENIED',
    'KMS_TIMEOUT',
    'KMS_CONNECTION',
    'KMS_SERVER_ERROR',
    'KMS_THROTTLED',
    'KMS_BAD_REPLY',
    'KMS_CREDENTIALS',
    'KMS_INVALID_CIPHERTEXT',
    'KMS_WRONG_CONTEXT',
    'KMS_UNSUPPORTED_KEY',
  ];
  const cases: [says: string, code: string][] = [
    ...errors.map((code): [string, string] => [`echo '{"error":"${code}","why":"${SECRET}"}'`, code]),
    [`echo '{"error":"${SECRET}"}'`, 'KMS_BAD_REPLY'],
    ['echo \'{"error":"INTERNAL"}\'', 'KMS_BAD_REPLY'],
    ['echo \'{"error":{}}\'', 'KMS_BAD_REPLY'],
    ['echo \'{"error":"UNSUPPORTED_OPERATION"}\'', 'KMS_BAD_REPLY'],
    ['', 'KMS_BAD_REPLY'],
    ['echo', 'KMS_BAD_REPLY'],
    [`echo '{"plaintext":"${SECRET}"'`, 'KMS_BAD_REPLY'],
    [`echo '"${SECRET}"'`, 'KMS_BAD_REPLY'],
    [`echo '["${SECRET}"]'`, 'KMS_BAD_REPLY'],
    [`echo '{"plaintext":"${SECRET}"}'; echo more`, 'KMS_BAD_REPLY'],
    ['echo \'{"plaintext":17}\'', 'KMS_BAD_REPLY'],
    [`echo '{"plaintext":"${SECRET}="}'`, 'KMS_BAD_REPLY'],
    ['echo \'{"plaintext":""}\'', 'KMS_BAD_REPLY'],
    [`echo '{"plaintext":"${SECRET}"}'; exit 3`, 'KMS_SERVER_ERROR'],
    [`echo '{"plaintext":"${SECRET}"}'; kill -9 $$`, 'KMS_SERVER_ERROR'],
    [`while :; do echo '${SECRET.repeat(40)}'; done`, 'KMS_BAD_REPLY'],
  ];
  for (const [says, code] of cases) {
    writeFileSync(join(dir, 'says'), `echo ${SECRET} >&2\n${says}\n`);
    const failure = (await provider.unwrap(WRAPPED, CONTEXT, SOON).catch((error) => error)) as SealdiskError;
    t.equal(failure.code, code, says);
    t.notMatch(`${inspect(failure, { depth: 9 })}${JSON.stringify(failure)}`, SECRET);
  }
});

t.test('a program that hangs ends at the deadline with all that it started', async (t) => {
  const dir = await tempPool(t);
  const program = await shell(t, `sleep 1000 & echo $! >${dir}/pid`, 'wait');
  await rejectsWith(t, (await open(program)).unwrap(WRAPPED, CONTEXT, HASTY), 'KMS_TIMEOUT');
  await until('its child is gone', () => isGone(join(dir, 'pid')));
});

t.test('a program that ends and leaves something behind is not waited for', async (t) => {
  const dir = await tempPool(t);
  const program = await shell(t, `sleep 1000 & echo $! >${dir}/pid`, `echo '{"plaintext":"${SECRET}"}'`);
  t.equal((await (await open(program)).unwrap(WRAPPED, CONTEXT, SOON)).toString('base64'), SECRET);
  await until('what it left is gone', () => isGone(join(dir, 'pid')));
});

function isGone(pidFile: string): boolean {
  try {
    return / Z /.test(readFileSync(`/proc/${readFileSync(pidFile, 'utf8').trim()}/stat`, 'utf8'));
  } catch {
    return true;
  }
}

t.test('takes a data key that the program makes, of the size that was asked', async (t) => {
  const dir = await tempPool(t);
  const program = await shell(
    t,
    'case $ask in',
    `*'"wrap"'*) echo '{"error":"UNSUPPORTED_OPERATION"}' ;;`,
    `*) echo "$ask" >${dir}/asked; cat ${dir}/answer ;;`,
    'esac',
  );
  const provider = await open(program);
  const answer = (sizeBytes: number) =>
    JSON.stringify({
      keyId: 'k',
      ciphertext: SECRET,
      plaintext: Buffer.alloc(sizeBytes, 7).toString('base64'),
    });
  writeFileSync(join(dir, 'answer'), answer(64));
  const { plaintext, wrapped } = await provider.generateDataKey(64, CONTEXT, SOON);
  t.ok(plaintext.equals(Buffer.alloc(64, 7)));
  t.match(wrapped, { keyId: 'k', keyVersion: '1' });
  t.match(JSON.parse(readFileSync(join(dir, 'asked'), 'utf8')), {
    operation: 'generate-data-key',
    sizeBytes: 64,
  });
  for (const sizeBytes of [1, 63, 65, 4096]) {
    writeFileSync(join(dir, 'answer'), answer(sizeBytes));
    await rejectsWith(t, provider.generateDataKey(64, CONTEXT, SOON), 'KMS_BAD_REPLY', `${sizeBytes} bytes`);
  }
});

t.test('rewraps by the program where it can', async (t) => {
  const answer = '{"keyId":"k","keyVersion":"2","ciphertext":"AAAA"}';
  const program = await shell(t, `case $ask in *'"rewrap"'*) echo '${answer}' ;; *) exit 1 ;; esac`);
  const provider = await open(program);
  if (!canRewrap(provider)) return t.fail('it rewraps');
  t.match(await provider.rewrap(WRAPPED, CONTEXT, SOON), {
    keyId: 'k',
    keyVersion: '2',
    ciphertext: Buffer.alloc(3),
  });
});
