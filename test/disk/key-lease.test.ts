import t from 'tap';
import {
  decide,
  type KmsAnswer,
  type Lease,
  type LeaseTerms,
  LONGEST_RETRY_MS,
} from '#sealdisk/disk/key-lease.js';

const terms = (over: Partial<LeaseTerms> = {}): LeaseTerms => ({
  onKeyLoss: 'hang',
  checkIntervalMs: 5_000,
  graceMs: 60_000,
  ...over,
});
const held: Lease = { kind: 'held' };
const kept: Lease = { kind: 'kept' };
const lost: Lease = { kind: 'lost' };
const silent = (kind: Lease['kind'], sinceMs: number, tries = 1): Lease => ({
  kind,
  silence: { sinceMs, tries },
});

t.test('every pair of lease and answer has the verdict of the table', async (t) => {
  const table: [Lease, KmsAnswer, LeaseTerms['onKeyLoss'], Lease['kind'], string][] = [
    [held, 'enabled', 'hang', 'held', 'none'],
    [held, 'revoked', 'hang', 'lost', 'lose'],
    [held, 'revoked', 'fail', 'lost', 'lose'],
    [held, 'revoked', 'keep', 'kept', 'warn'],
    [held, 'wrong', 'hang', 'lost', 'lose'],
    [held, 'unreachable', 'hang', 'held', 'none'],
    [held, 'restored', 'hang', 'held', 'none'],
    [kept, 'enabled', 'keep', 'held', 'none'],
    [kept, 'revoked', 'keep', 'kept', 'none'],
    [kept, 'wrong', 'keep', 'kept', 'none'],
    [kept, 'unreachable', 'keep', 'kept', 'none'],
    [kept, 'restored', 'keep', 'held', 'none'],
    [lost, 'enabled', 'hang', 'lost', 'restore'],
    [lost, 'enabled', 'fail', 'lost', 'restore'],
    [lost, 'revoked', 'hang', 'lost', 'none'],
    [lost, 'wrong', 'hang', 'lost', 'none'],
    [lost, 'unreachable', 'hang', 'lost', 'none'],
    [lost, 'restored', 'hang', 'held', 'none'],
  ];
  for (const [lease, answer, onKeyLoss, kind, act] of table) {
    const verdict = decide(lease, answer, terms({ onKeyLoss }), 1_000, 0);
    t.match(verdict, { next: { kind }, act }, `${lease.kind}, ${answer}, ${onKeyLoss}: ${kind}, ${act}`);
    t.ok(verdict.wakeAtMs > 1_000, 'asks again later');
  }
});

t.test('asks one interval after the last question, however long the answer took', async (t) => {
  t.equal(decide(held, 'enabled', terms(), 7_000, 0).wakeAtMs, 12_000);
});

t.test('checks are spread over the last tenth of the interval, and none comes after its end', async (t) => {
  const pairs: [Lease, KmsAnswer][] = [
    [held, 'enabled'],
    [held, 'revoked'],
    [kept, 'revoked'],
    [lost, 'enabled'],
    [lost, 'revoked'],
    [lost, 'restored'],
  ];
  for (const [lease, answer] of pairs) {
    const wakes = [0, 0.5, 0.999].map((jitter) => decide(lease, answer, terms(), 7_000, jitter).wakeAtMs);
    t.same(wakes.map(Math.round), [12_000, 11_750, 11_501], `${lease.kind}, ${answer}`);
  }
});

t.test('bears a silent KMS until the grace ends, and not a moment longer', async (t) => {
  const before = decide(silent('held', 0), 'unreachable', terms(), 59_999, 0);
  t.match(before, { next: { kind: 'held' }, act: 'none', wakeAtMs: 60_000 });
  t.match(decide(silent('held', 0), 'unreachable', terms(), 60_000, 0), {
    next: { kind: 'lost' },
    act: 'lose',
  });
});

t.test('counts the grace from the first silence, and forgets it at an answer', async (t) => {
  const first = decide(held, 'unreachable', terms(), 1_000, 0).next;
  t.same(decide(first, 'unreachable', terms(), 3_000, 0).next, silent('held', 1_000, 2));
  t.same(decide(first, 'enabled', terms(), 3_000, 0).next, { kind: 'held' });
});

t.test('of a KMS that describes a key and does not unwrap it, retries grow, too', async (t) => {
  let lease: Lease = lost;
  const pauses: number[] = [];
  for (let i = 0; i < 4; i++) {
    lease = decide(lease, 'enabled', terms(), 0, 0).next;
    const verdict = decide(lease, 'unreachable', terms(), 0, 0);
    lease = verdict.next;
    pauses.push(verdict.wakeAtMs);
  }
  t.same(pauses, [1_250, 2_500, 5_000, 10_000]);
  t.same(decide(lease, 'restored', terms(), 0, 0).next, held);
});

t.test('bears a silent KMS for ever when told so', async (t) => {
  const forEver = terms({ graceMs: Number.POSITIVE_INFINITY });
  t.match(decide(silent('held', 0), 'unreachable', forEver, 1e12, 0), {
    next: { kind: 'held' },
    act: 'none',
  });
});

t.test('a grace that ends under the policy keep warns once and serves on', async (t) => {
  const verdict = decide(silent('held', 0), 'unreachable', terms({ onKeyLoss: 'keep' }), 60_000, 0);
  t.match(verdict, { next: { kind: 'kept' }, act: 'warn' });
  t.match(decide(verdict.next, 'unreachable', terms({ onKeyLoss: 'keep' }), 61_000, 0), { act: 'none' });
});

t.test('retries grow, are spread by the jitter, and never pause longer than the limit', async (t) => {
  let lease: Lease = lost;
  let last = 0;
  for (let i = 0; i < 40; i++) {
    const { next, wakeAtMs } = decide(lease, 'unreachable', terms(), 0, 0);
    t.ok(wakeAtMs >= last && wakeAtMs <= LONGEST_RETRY_MS, `pause ${wakeAtMs}`);
    t.equal(
      decide(lease, 'unreachable', terms(), 0, 0.5).wakeAtMs,
      wakeAtMs * 0.75,
      'jitter takes a part away',
    );
    last = wakeAtMs;
    lease = next;
  }
  t.equal(last, LONGEST_RETRY_MS);
});
