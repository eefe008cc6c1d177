/**
 * kill -9 at any instruction loses at most an unanswered call. Five hundred writers are killed, eight at a time, each at
 * a moment of its own: seven that make, use and change keys, and one that gives the store one root key after another.
 * After each wave a reader looks at everything that was answered, and at the audit log.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import t, { type Test } from 'tap';
import { readAudit, verifyAudit } from '#sealdisk/kms/local/audit-verify.js';
import { LocalKms } from '#sealdisk/kms/local/local-kms.js';
import { seeded, tempPool, until } from './pool.js';

t.setTimeout(580_000);

const SOURCE = fileURLToPath(new URL('./kill-worker.js', import.meta.url));
const BUNDLE = SOURCE.replace(/js$/, 'cjs');
const WAVES = 63;
const AT_ONCE = 8;
/** Waves on one store: with more keys its rotations would take longer than its writers live. */
const WAVES_A_STORE = 9;
const ANSWERS_MAX = 16;
const SPREAD_MS = 12;

interface Answer {
  readonly alias: string;
  readonly keyId: string;
  readonly state: string;
  readonly primaryVersion: string;
  readonly lines: number;
}
interface Used {
  readonly alias: string;
  readonly ciphertext: string;
  readonly plaintext: string;
}
interface Writer {
  readonly child: ChildProcess;
  readonly ended: Promise<unknown>;
  text: string;
  answers: number;
}

/** The states of a key, in the order in which its writer brings it there. */
const STEPS = ['enabled 1', 'enabled 2', 'disabled 2', 'enabled 2'];

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

function start(dir: string, ...args: string[]): Writer {
  const child = spawn(process.execPath, [BUNDLE, dir, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  const writer: Writer = { child, ended: once(child, 'close'), text: '', answers: 0 };
  child.stdout?.on('data', (data: Buffer) => {
    writer.text += data;
    writer.answers += data.filter((byte) => byte === 0x0a).length;
  });
  return writer;
}

const toldBy = ({ text }: Writer): unknown[] =>
  text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as unknown);

t.test(`${WAVES * AT_ONCE} writers are killed at any moment, and what was answered stays`, async (t) => {
  const random = seeded(t);
  let dir = '';
  let answers = 0;
  let killed = 0;
  let rotations = 0;
  for (let wave = 0; wave < WAVES; wave++) {
    if (wave % WAVES_A_STORE === 0) {
      dir = join(await tempPool(t), 'kms');
      await LocalKms.open(dir).createKey();
    }
    const writers = Array.from({ length: AT_ONCE }, (_, i) =>
      start(dir, `${wave}-${i}`, ...(i === 0 ? ['rotate'] : [])),
    );
    const enough = random() * ANSWERS_MAX;
    await until('writers get answers', () => writers.reduce((n, { answers: a }) => n + a, 0) > enough);
    for (const { child } of writers) setTimeout(() => child.kill('SIGKILL'), random() * SPREAD_MS);
    await Promise.all(writers.map(({ ended }) => ended));
    killed += writers.filter(({ child }) => child.signalCode === 'SIGKILL').length;
    rotations += toldBy(writers[0] as Writer).length;
    answers += await check(t, dir, writers.slice(1).flatMap(toldBy) as (Answer | Used)[]);
  }
  t.comment(`${killed} kills, ${answers} answered changes, ${rotations} whole rotations of the root`);
  t.equal(killed, WAVES * AT_ONCE, 'every writer was killed, none ended by itself');
});

/** Everything that was told holds. How many answers those were. */
async function check(t: Test, dir: string, told: readonly (Answer | Used)[]): Promise<number> {
  const kms = LocalKms.open(dir);
  const answers = told.filter((each): each is Answer => 'state' in each);
  const linesOf = new Map<string, number>();
  for await (const { key, outcome } of readAudit(dir)) {
    if (outcome === 'ok') linesOf.set(key, (linesOf.get(key) ?? 0) + 1);
  }
  for (const alias of new Set(answers.map((answer) => answer.alias))) {
    const ours = answers.filter((answer) => answer.alias === alias);
    const last = ours.at(-1) as Answer;
    const found = await kms.describeKey(alias);
    const state = `${found.state} ${found.primaryVersion}`;
    const possible = STEPS.slice(ours.length - 1, ours.length + 1);
    const lines = linesOf.get(found.keyId) ?? 0;
    if (found.keyId !== last.keyId || !possible.includes(state) || lines < last.lines) {
      t.fail(`${alias}: ${JSON.stringify({ last, state, possible, lines })}`);
    }
  }
  for (const each of told) {
    if (!('ciphertext' in each)) continue;
    const { plaintext } = await kms.decrypt(Buffer.from(each.ciphertext, 'base64'), { alias: each.alias });
    if (plaintext.toString('base64') !== each.plaintext) t.fail(`${each.alias} opens to another data key`);
  }
  await kms.listKeys();
  const verdict = await verifyAudit(dir);
  if (!verdict.ok) t.fail(`audit: ${JSON.stringify(verdict)}`);
  t.equal((await kms.createKey()).state, 'enabled', 'and the next writer is not held up');
  return answers.length;
}
