/** Questions about a key that many disks share: how many there are, how old an answer may be, and who watches. */

import t from 'tap';
import { KeyChecks } from '#sealdisk/disk/key-checks.js';
import { SealdiskError } from '#sealdisk/errors.js';
import type { CanWatch, KeyDescription, KeyProvider } from '#sealdisk/kms/provider.js';
import { until } from '../kms/pool.js';

const DESCRIPTION: KeyDescription = { keyId: 'k', state: 'enabled', serviceKey: false };

/** A provider whose answers come when the test lets them. */
class Asked implements KeyProvider, CanWatch {
  readonly keyUri = 'test:k';
  readonly answers: ((said: KeyDescription | SealdiskError) => void)[] = [];
  watches = 0;
  change = (): void => undefined;

  generateDataKey = () => Promise.reject(new Error('not here'));
  unwrap = () => Promise.reject(new Error('not here'));
  close = async () => undefined;

  describeKey(): Promise<KeyDescription> {
    return new Promise((resolve, reject) =>
      this.answers.push((said) => (said instanceof SealdiskError ? reject(said) : resolve(said))),
    );
  }

  watch(_keyId: string, onChange: () => void): { close(): void } {
    this.watches++;
    this.change = onChange;
    return { close: () => this.watches-- };
  }
}

t.test(
  'one question answers all who asked before it was answered, and those whom its age suits',
  async (t) => {
    const checks = new KeyChecks();
    const provider = new Asked();
    const disks = Array.from({ length: 100 }, () => checks.join(provider, 'k', () => undefined));
    const sinceMs = performance.now();
    const all = disks.map((disk) => disk.ask(sinceMs));
    t.equal(provider.answers.length, 1);
    provider.answers[0]?.(DESCRIPTION);
    const [first] = await Promise.all(all);
    t.same(first?.said, DESCRIPTION);
    const { askedMs } = first as { askedMs: number };
    t.equal((await disks[7]?.ask(askedMs))?.askedMs, askedMs, 'the last answer, where it is young enough');
    disks[8]?.ask(askedMs + 0.001);
    t.equal(provider.answers.length, 2, 'and a new question where not');
  },
);

t.test('what the KMS tells of is asked about once for all', async (t) => {
  const checks = new KeyChecks();
  const provider = new Asked();
  const disks = Array.from({ length: 100 }, () => {
    const disk = checks.join(provider, 'k', (sinceMs) => void disk.ask(sinceMs));
    return disk;
  });
  provider.change();
  t.equal(provider.answers.length, 1);
  provider.answers[0]?.(DESCRIPTION);
  for (const disk of disks) disk.leave();
});

t.test('a question that began before what happened is no answer to it', async (t) => {
  const checks = new KeyChecks();
  const provider = new Asked();
  const [one, two] = [checks.join(provider, 'k', () => {}), checks.join(provider, 'k', () => {})];
  const before = one.ask(performance.now());
  const eventMs = performance.now() + 0.01;
  await until('time passes', () => performance.now() > eventMs);
  const after = two.ask(eventMs);
  t.equal(provider.answers.length, 2);
  provider.answers[1]?.({ ...DESCRIPTION, state: 'disabled' });
  t.match(await after, { said: { state: 'disabled' } });
  provider.answers[0]?.(DESCRIPTION);
  t.match(await before, { said: { state: 'enabled' } });
  t.match(
    await one.ask(eventMs),
    { said: { state: 'disabled' } },
    'an older answer that comes late is not the last',
  );
});

t.test('a failure is an answer, too', async (t) => {
  const checks = new KeyChecks();
  const provider = new Asked();
  const asked = checks.join(provider, 'k', () => {}).ask(performance.now());
  provider.answers[0]?.(new SealdiskError('KMS_CONNECTION', { keyUri: 'test:k', why: 'away' }));
  t.match(await asked, { said: { code: 'KMS_CONNECTION' } });
});

t.test('one watch serves all, and passes to another disk when its own leaves', async (t) => {
  const checks = new KeyChecks();
  const [a, b] = [new Asked(), new Asked()];
  const heard: string[] = [];
  const first = checks.join(a, 'k', () => heard.push('first'));
  const second = checks.join(b, 'k', () => heard.push('second'));
  t.same([a.watches, b.watches], [1, 0]);
  a.change();
  t.same(heard, ['first', 'second']);
  first.leave();
  first.leave();
  t.same([a.watches, b.watches], [0, 1]);
  b.change();
  t.same(heard, ['first', 'second', 'second']);
  second.leave();
  t.same([a.watches, b.watches], [0, 0]);
  checks.join(a, 'k', () => {});
  t.equal(a.watches, 1, 'and the key is forgotten with its last disk');
});

t.test('a KMS that is heard again is watched anew', async (t) => {
  const checks = new KeyChecks();
  const provider = new Asked();
  const disk = checks.join(provider, 'k', () => {});
  const before = provider.change;
  const ask = async (said: KeyDescription | SealdiskError) => {
    const asked = disk.ask(performance.now());
    provider.answers.shift()?.(said);
    await asked;
  };
  await ask(new SealdiskError('KMS_CONNECTION', { keyUri: 'test:k', why: 'away' }));
  t.equal(provider.change, before);
  await ask(DESCRIPTION);
  t.not(provider.change, before);
  t.equal(provider.watches, 1, 'and the watch before is gone');
});

t.test('keys are unwrapped eight at a time under each key, also after one that failed', async (t) => {
  const checks = new KeyChecks();
  const now = new Map<string, number>();
  let most = 0;
  const work = async (key: string, i: number): Promise<void> => {
    now.set(key, (now.get(key) ?? 0) + 1);
    most = Math.max(most, now.get(key) as number);
    await new Promise((go) => setImmediate(go));
    now.set(key, (now.get(key) as number) - 1);
    if (i % 3 === 0) throw new Error(`${i}`);
  };
  const start = (key: string) => Array.from({ length: 50 }, (_, i) => checks.inTurn(key, () => work(key, i)));
  const stuck = Array.from({ length: 9 }, () => checks.inTurn('test:silent', () => new Promise(() => {})));
  t.equal(stuck.length, 9, 'another key whose KMS does not answer holds up none of these');
  const all = await Promise.allSettled([...start('test:a'), ...start('test:b')]);
  t.equal(all.filter(({ status }) => status === 'rejected').length, 34);
  t.same([most, now.get('test:a'), now.get('test:b')], [8, 0, 0]);
});
