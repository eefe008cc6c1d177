/**
 * The long changes of a KMS folder, cut at every step that they take on the disk: a new root key, a backup, a restore, an
 * import of material. strace shows the steps of one run (write, fsync, rename, link, unlink), and kills one process as it
 * is about to take each. Then the KMS opens, what was answered is there, what was cut is there whole or not at all, and
 * the same once more succeeds.
 */

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import t, { type Test } from 'tap';
import { verifyAudit } from '#sealdisk/kms/local/audit-verify.js';
import { backup, restore } from '#sealdisk/kms/local/backup.js';
import { wrapForImport } from '#sealdisk/kms/local/import.js';
import { LocalKms } from '#sealdisk/kms/local/local-kms.js';
import { describeRoot } from '#sealdisk/kms/local/root/rotate.js';
import { CHEAP, phrase, TASKS, type Task } from './cut-worker.js';
import { tempPool } from './pool.js';

t.setTimeout(280_000);

const SOURCE = fileURLToPath(new URL('./cut-worker.js', import.meta.url));
const BUNDLE = SOURCE.replace(/js$/, 'cjs');
const CALLS = ['write', 'pwrite64', 'fsync', 'rename', 'link', 'unlink'];
const AT_ONCE = 2;

/** The n-th of a call in the one thread that makes them all. */
interface Step {
  readonly call: string;
  readonly n: number;
}

t.before(() =>
  build({
    entryPoints: [SOURCE],
    outfile: BUNDLE,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    external: ['sodium-native', 'fs-ext'],
  }),
);

/** A store with one key of each origin, a data key, a backup of it, and material that waits to be imported. */
async function prepare(t: Test) {
  const pool = await tempPool(t);
  const at = join(pool, 'prepared');
  await mkdir(at);
  const kms = LocalKms.open(join(at, 'kms'));
  await kms.createKey({ alias: 'alias/x' });
  await kms.createKey({ alias: 'alias/imported', origin: 'external' });
  const made = await kms.generateDataKey('alias/x', 64, {});
  const choice = { algorithm: 'RSAES_OAEP_SHA_256', spec: 'RSA_2048' } as const;
  const { publicKey, importToken } = await kms.importParameters('alias/imported', choice);
  const wrapped = wrapForImport(publicKey, choice.algorithm, Buffer.alloc(32, 7));
  const texts = { importToken: importToken.toString('base64'), wrapped: wrapped.toString('base64') };
  await writeFile(join(at, 'import.json'), JSON.stringify(texts));
  await backup(join(at, 'kms'), join(at, 'kms.backup'), phrase(), CHEAP);
  /** The store in `dir` opens, has what it had, and its log is whole. */
  const holds = async (t: Test, dir: string, what: string): Promise<void> => {
    const { plaintext } = await LocalKms.open(dir).decrypt(made.ciphertext, {});
    t.ok(plaintext.equals(made.plaintext), `${what}: opens`);
    t.match(await verifyAudit(dir), { ok: true }, `${what}: its log is whole`);
  };
  /** Another folder like the prepared one. */
  const copied = async (name: string): Promise<string> => {
    await cp(at, join(pool, name), { recursive: true });
    return join(pool, name);
  };
  return { holds, copied };
}

// strace counts the calls of each thread by itself: one thread makes them all.
const env = { ...process.env, UV_THREADPOOL_SIZE: '1' };

/** The steps that `task` takes on files under `at`. */
async function stepsOf(task: Task, at: string): Promise<Step[]> {
  const log = `${at}.strace`;
  const trace = ['-f', '-qq', '-y', '-s', '256', '-o', log, '-e', `trace=${CALLS}`];
  await promisify(execFile)('strace', [...trace, process.execPath, BUNDLE, task, at], { env });
  const seen = new Map<string, number>();
  const steps: Step[] = [];
  for (const line of (await readFile(log, 'utf8')).split('\n')) {
    const [, thread, call = ''] = /^(\d+) +(\w+)\(/.exec(line) ?? [];
    const n = (seen.get(`${thread} ${call}`) ?? 0) + 1;
    seen.set(`${thread} ${call}`, n);
    if (line.includes(at)) steps.push({ call, n });
  }
  return steps;
}

/** What `task` told before it was killed as it was about to take `step`. */
async function cutAt({ call, n }: Step, task: Task, at: string): Promise<string> {
  const words = ['-f', '-qq', '-o', '/dev/null', '-e', `trace=${call}`];
  const inject = ['-e', `inject=${call}:signal=SIGKILL:when=${n}`];
  const child = spawn('strace', [...words, ...inject, process.execPath, BUNDLE, task, at], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let told = '';
  child.stdout.on('data', (data: Buffer) => {
    told += data;
  });
  await once(child, 'close');
  return told.trim();
}

/** Cuts `task` at each of its steps; `check` looks at the folder and at what was told. */
async function cutEverywhere(
  t: Test,
  task: Task,
  leastSteps: number,
  check: (
    at: string,
    told: string,
    what: string,
    holds: Awaited<ReturnType<typeof prepare>>['holds'],
  ) => Promise<void>,
): Promise<void> {
  const { copied, holds } = await prepare(t);
  const steps = await stepsOf(task, await copied('whole'));
  t.ok(steps.length >= leastSteps, `${steps.length} steps`);
  let unanswered = 0;
  for (let from = 0; from < steps.length; from += AT_ONCE) {
    await Promise.all(
      steps.slice(from, from + AT_ONCE).map(async (step, i) => {
        const at = await copied(`cut-${from + i}`);
        const told = await cutAt(step, task, at);
        if (told === '') unanswered += 1;
        await check(at, told, `${step.call} ${step.n}`, holds);
      }),
    );
  }
  t.ok(unanswered > steps.length / 2, `${unanswered} were cut before they had answered`);
}

t.test('a rotation of the root key', async (t) => {
  await cutEverywhere(t, 'rotate', 25, async (at, told, what, holds) => {
    const dir = join(at, 'kms');
    await holds(t, dir, what);
    if (told !== '') t.equal((await describeRoot(dir)).current.generation, 2, `${what}: what was answered`);
    const { generation } = await TASKS.rotate(at);
    t.ok(generation === 2 || generation === 3, `${what}: gone on with, or done again`);
    await holds(t, dir, `${what}, again`);
    const roots = (await readdir(dir)).filter((name) => /^root\..*key/.test(name));
    t.same(roots, [`root.${generation}.key`], `${what}: no other root key is left`);
  });
});

t.test('a backup', async (t) => {
  await cutEverywhere(t, 'backup', 8, async (at, told, what, holds) => {
    const path = join(at, 'new.backup');
    await holds(t, join(at, 'kms'), what);
    const there = (await readdir(at)).includes('new.backup');
    if (told !== '') t.ok(there, `${what}: what was answered`);
    if (there) await t.rejects(TASKS.backup(at), { code: 'DISK_EXISTS' });
    else await TASKS.backup(at);
    await restore(join(at, 'again'), path, phrase(), { kind: 'file' });
    await holds(t, join(at, 'again'), `${what}: the backup`);
    t.notOk((await readdir(at)).includes('new.backup.new'), `${what}: nothing is left aside`);
  });
});

t.test('a restore', async (t) => {
  await cutEverywhere(t, 'restore', 25, async (at, told, what, holds) => {
    const dir = join(at, 'restored');
    const there = (await readdir(at)).includes('restored');
    if (told !== '') t.ok(there, `${what}: what was answered`);
    if (there) await t.rejects(TASKS.restore(at), { code: 'KMS_NOT_EMPTY' });
    else await TASKS.restore(at);
    await holds(t, dir, what);
    t.notOk((await readdir(at)).includes('restored.restore'), `${what}: nothing is left aside`);
    t.equal((await LocalKms.open(dir).createKey()).state, 'enabled', `${what}: it takes changes`);
  });
});

t.test('an import of key material', async (t) => {
  await cutEverywhere(t, 'import', 7, async (at, told, what, holds) => {
    const dir = join(at, 'kms');
    const kms = LocalKms.open(dir);
    const { state } = await kms.describeKey('alias/imported');
    t.ok(['pendingImport', 'enabled'].includes(state), `${what}: ${state}`);
    if (told !== '') t.equal(state, 'enabled', `${what}: what was answered`);
    if (state === 'enabled') await kms.generateDataKey('alias/imported', 64, {});
    t.match(await TASKS.import(at), { state: 'enabled' }, `${what}, again`);
    const { ciphertext } = await kms.generateDataKey('alias/imported', 64, {});
    t.equal((await kms.decrypt(ciphertext, {})).plaintext.length, 64);
    await holds(t, dir, what);
  });
});
