import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { LocalKms } from '#sealdisk/kms/local/local-kms.js';
import { seeded, tempPool, until } from './pool.js';
import { startWorker } from './workers.js';

t.setTimeout(110_000);

t.test('processes that race make one root key and one service key', async (t) => {
  for (let round = 0; round < 2; round++) {
    const dir = join(await tempPool(t), 'kms');
    const workers = Array.from({ length: 4 }, () => startWorker(t, dir, 'service'));
    const told = (await Promise.all(workers.map(({ ended }) => ended))).flat();
    t.equal(told.length, 4, 'each has its answer');
    t.equal(new Set(told).size, 1, 'and all the same');
    t.equal((await LocalKms.open(dir).listKeys()).keys.length, 1);
  }
});

t.test('processes that make keys at once lose none', async (t) => {
  const dir = join(await tempPool(t), 'kms');
  const workers = ['a', 'b', 'c', 'd'].map((name) => startWorker(t, dir, 'create', name, '8'));
  const told = (await Promise.all(workers.map(({ ended }) => ended))).flat();
  const { keys } = await LocalKms.open(dir).listKeys();
  t.equal(told.length, 32);
  t.same(keys.map(({ keyId }) => keyId).sort(), told.sort());
  t.equal(new Set(keys.flatMap(({ aliases }) => aliases)).size, 32);
  const lines = (await readFile(join(dir, 'audit.log'), 'utf8')).trimEnd().split('\n');
  t.equal(lines.filter((line) => JSON.parse(line).outcome === 'ok').length, 32, 'no audit line is torn');
});

/** The states that a key may be found in, in the order in which a churning worker brings it there. */
const STEPS = ['enabled 1', 'enabled 2', 'disabled 2', 'enabled 2', 'disabled 2'];

t.test('a writer killed at any moment leaves a store that opens, with all that was answered', async (t) => {
  const random = seeded(t);
  const dir = join(await tempPool(t), 'kms');
  const kms = LocalKms.open(dir);
  for (let round = 0; round < 4; round++) {
    const workers = ['a', 'b'].map((name) => startWorker(t, dir, 'churn', `${round}${name}`));
    const answers = Math.floor(random() * 12);
    const count = (): number => workers.reduce((sum, worker) => sum + worker.told().length, 0);
    await until('the workers get on', () => count() >= answers);
    await new Promise((kill) => setTimeout(kill, random() * 15));
    for (const { child } of workers) child.kill('SIGKILL');
    for (const { ended } of workers) await checkAnswered(t, kms, (await ended) as Answer[]);
    const made = await kms.createKey();
    t.equal((await kms.describeKey(made.keyId)).state, 'enabled', 'and the next writer is not held up');
  }
});

interface Answer {
  readonly alias: string;
  readonly keyId: string;
  readonly state: string;
  readonly primaryVersion: string;
}

async function checkAnswered(t: Test, kms: LocalKms, told: readonly Answer[]): Promise<void> {
  await kms.listKeys();
  for (const alias of new Set(told.map((answer) => answer.alias))) {
    const answers = told.filter((answer) => answer.alias === alias);
    const found = await kms.describeKey(alias);
    t.equal(found.keyId, answers[0]?.keyId, alias);
    const state = `${found.state} ${found.primaryVersion}`;
    // The answered step, or the one that was under way when the writer was killed.
    t.ok(STEPS.slice(answers.length - 1, answers.length + 1).includes(state), `${alias} is ${state}`);
  }
}
