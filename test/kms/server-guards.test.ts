import t from 'tap';
import { allows, parseRule } from '#sealdisk/kms/local/access-keys.js';
import { Rates } from '#sealdisk/kms/server/rate.js';
import { Replays } from '#sealdisk/kms/server/replay.js';

t.test('an access key may make so many calls a second, and others are not held up', async (t) => {
  const rates = new Rates(3);
  const taken = (who: string, nowMs: number, calls: number): number =>
    Array.from({ length: calls }, () => rates.take(who, nowMs)).filter(Boolean).length;
  t.equal(taken('a', 0, 5), 3, 'as many at once as in a second');
  t.equal(taken('b', 0, 5), 3, 'each has its own');
  t.equal(taken('a', 333, 5), 0);
  t.equal(taken('a', 334, 5), 1, 'filled by time');
  t.equal(taken('a', 100_000, 5), 3, 'and not beyond a second');
  t.equal(taken('a', 0, 5), 0, 'a clock that goes back gives nothing');
});

t.test('forgets access keys that call no more', async (t) => {
  const rates = new Rates(1);
  for (let i = 0; i < 5000; i += 1) rates.take(`k${i}`, i * 10);
  t.ok(rates.size <= 1025, `${rates.size} are remembered`);
});

t.test('a request passes once while its date would let it pass', async (t) => {
  const replays = new Replays(300_000);
  const nowMs = Date.UTC(2026, 0, 1);
  t.equal(replays.first('a', nowMs, nowMs), true);
  t.equal(replays.first('a', nowMs, nowMs + 300_000), false);
  t.equal(replays.first('b', nowMs, nowMs), true);
  t.equal(replays.first('c', nowMs - 300_000, nowMs), true);
  t.equal(replays.first('c', nowMs - 300_000, nowMs), false, 'also one that was late');
  t.equal(replays.first('a', nowMs, nowMs + 420_000), true, 'its date is refused by then');
});

t.test('reads a rule', async (t) => {
  t.same(parseRule('Decrypt'), { action: 'Decrypt', key: null });
  t.same(parseRule('kms:GenerateDataKey*'), { action: 'GenerateDataKey*', key: null });
  t.same(parseRule('kms:*:alias/x'), { action: '*', key: 'alias/x' });
  t.same(parseRule('*:*'), { action: '*', key: null });
  const keyId = '6f9a8b5e-0c3e-4a52-9c50-3b1f0d3f9b01';
  t.same(parseRule(`Decrypt:local:${keyId.toUpperCase()}`), { action: 'Decrypt', key: keyId });
  for (const bad of ['', 'De crypt', 'Decrypt:', ':alias/x', 'kms:', 'Decrypt(.*)+']) {
    t.throws(() => parseRule(bad), /./, bad);
  }
});

t.test('a rule allows what it names, and nothing is allowed by none of several', async (t) => {
  const key = { keyId: 'k1', aliases: ['alias/x', 'alias/y'] };
  const may = (rules: string[], operation: string, on?: typeof key): boolean =>
    allows(rules.map(parseRule), operation, on);
  t.equal(may([], 'Anything', key), true, 'without rules everything');
  t.equal(may(['Decrypt'], 'Decrypt', key), true);
  t.equal(may(['Decrypt'], 'Encrypt', key), false);
  t.equal(may(['Decrypt'], 'ReDecrypt', key), false, 'the whole name');
  t.equal(may(['GenerateDataKey*'], 'GenerateDataKeyWithoutPlaintext', key), true);
  t.equal(may(['*Key'], 'ListKeys'), false);
  t.equal(may(['Decrypt:alias/y'], 'Decrypt', key), true);
  t.equal(may(['Decrypt:alias/z'], 'Decrypt', key), false);
  t.equal(may(['*:alias/x'], 'ListKeys'), false, 'a rule on a key is no right beside it');
  t.equal(may(['Encrypt:alias/x', 'ListKeys'], 'ListKeys'), true);
});
