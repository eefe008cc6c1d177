import t from 'tap';
import { decide, recordAt, rotationDue, type Verb } from '#sealdisk/kms/local/lifecycle.js';
import type { KeyRecord } from '#sealdisk/kms/local/record.js';
import type { KeyState } from '#sealdisk/kms/provider.js';
import { recordOf } from './pool.js';

const NOW_MS = Date.parse('2026-01-01T00:00:00Z');
const STATES: KeyState[] = ['enabled', 'disabled', 'pendingDeletion', 'pendingImport'];
const VERBS: Verb[] = [
  { kind: 'enable' },
  { kind: 'disable' },
  { kind: 'scheduleDeletion', windowDays: 7 },
  { kind: 'cancelDeletion', to: 'disabled' },
  { kind: 'cancelDeletion', to: 'enabled' },
  { kind: 'edit' },
  { kind: 'rotate' },
  { kind: 'setRotation' },
  { kind: 'importParameters' },
  { kind: 'importMaterial' },
  { kind: 'deleteMaterial' },
];

const verdict = (record: KeyRecord, verb: Verb): string => {
  try {
    return decide(record, verb, NOW_MS).state;
  } catch (error) {
    return (error as { code: string }).code;
  }
};
const verdicts = (record: KeyRecord): string[] => VERBS.map((verb) => verdict(record, verb));

const [E, D, P, I] = STATES as [string, string, string, string];
const NO = 'KMS_STATE';
const KIND = 'KMS_KEY_KIND';

t.test('every pair of state and verb has its verdict, for a key made here', async (t) => {
  const expected: Record<KeyState, string[]> = {
    enabled: [E, D, P, NO, NO, E, E, E, KIND, KIND, KIND],
    disabled: [E, D, P, NO, NO, D, NO, D, KIND, KIND, KIND],
    pendingDeletion: [NO, NO, NO, D, E, NO, NO, NO, KIND, KIND, KIND],
    pendingImport: [NO, NO, P, NO, NO, I, NO, NO, KIND, KIND, KIND],
  };
  for (const state of STATES) t.same(verdicts(recordOf({ state })), expected[state], state);
});

t.test('every pair of state and verb has its verdict, for an imported key', async (t) => {
  const expected: Record<KeyState, string[]> = {
    enabled: [E, D, P, NO, NO, E, KIND, KIND, E, E, I],
    disabled: [E, D, P, NO, NO, D, KIND, KIND, D, D, I],
    pendingDeletion: [NO, NO, NO, D, E, NO, KIND, KIND, NO, NO, NO],
    pendingImport: [NO, NO, P, NO, NO, I, KIND, KIND, I, E, I],
  };
  for (const state of STATES) {
    t.same(verdicts(recordOf({ state, origin: 'external' })), expected[state], state);
  }
});

t.test('the service key refuses all but enable', async (t) => {
  const refused = VERBS.slice(1).map(() => 'KMS_SERVICE_KEY');
  t.same(verdicts(recordOf({ serviceKey: true })), [E, ...refused]);
});

t.test('a protected key is not scheduled for deletion, and else like others', async (t) => {
  const record = recordOf({ deletionProtection: true });
  t.same(verdicts(record), [E, D, 'KMS_PROTECTED', NO, NO, E, E, E, KIND, KIND, KIND]);
});

t.test('dates the deletion by its window, which is 7 to 366 days', async (t) => {
  const change = decide(recordOf({}), { kind: 'scheduleDeletion', windowDays: 7 }, NOW_MS);
  t.equal(change.deletionDate, '2026-01-08T00:00:00.000Z');
  for (const windowDays of [6, 367, 7.5, Number.NaN]) {
    t.equal(verdict(recordOf({}), { kind: 'scheduleDeletion', windowDays }), 'USAGE', `${windowDays} days`);
  }
  const pending = recordOf({ state: 'pendingDeletion', deletionDate: '2026-01-08T00:00:00.000Z' });
  t.equal(decide(pending, { kind: 'cancelDeletion', to: 'disabled' }, NOW_MS).deletionDate, null);
});

t.test('a kept key without material waits for its import again', async (t) => {
  const versions = [{ version: 1, createdAt: '', material: null }];
  const pending = recordOf({ state: 'pendingDeletion', origin: 'external', versions });
  t.equal(verdict(pending, { kind: 'cancelDeletion', to: 'enabled' }), 'pendingImport');
});

t.test('the clock takes a key away at its deletion date', async (t) => {
  const record = recordOf({ state: 'pendingDeletion', deletionDate: '2026-01-01T00:00:00.000Z' });
  t.equal(recordAt(record, NOW_MS - 1), record);
  t.equal(recordAt(record, NOW_MS), undefined);
});

t.test('the clock ends imported material, whatever state the key was in', async (t) => {
  for (const state of ['enabled', 'disabled'] as const) {
    const record = recordOf({ state, origin: 'external', materialExpiresAt: '2026-01-01T00:00:00.000Z' });
    t.equal(recordAt(record, NOW_MS - 1)?.state, state);
    t.match(recordAt(record, NOW_MS), { state: 'pendingImport', versions: [{ material: null }] });
  }
});

t.test('a rotation is due at its time, of an enabled key', async (t) => {
  const rotation = { periodDays: 1, nextAt: '2026-01-01T00:00:00.000Z' };
  t.equal(rotationDue(recordOf({ rotation }), NOW_MS - 1), false);
  t.equal(rotationDue(recordOf({ rotation }), NOW_MS), true);
  t.equal(rotationDue(recordOf({ rotation, state: 'disabled' }), NOW_MS), false);
  t.equal(rotationDue(recordOf({}), NOW_MS), false);
});
