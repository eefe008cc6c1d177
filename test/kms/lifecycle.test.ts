import t from 'tap';
import { decide, type Verb } from '#sealdisk/kms/local/lifecycle.js';
import type { KeyRecord } from '#sealdisk/kms/local/record.js';
import type { KeyState } from '#sealdisk/kms/provider.js';

const NOW_MS = Date.parse('2026-01-01T00:00:00Z');
const STATES: KeyState[] = ['enabled', 'disabled', 'pendingDeletion', 'pendingImport'];
const VERBS: Verb[] = [
  { kind: 'enable' },
  { kind: 'disable' },
  { kind: 'scheduleDeletion', windowDays: 7 },
  { kind: 'cancelDeletion' },
  { kind: 'rotate' },
];

const record = (state: KeyState, serviceKey = false): KeyRecord => ({
  format: 1,
  keyId: '80c72a39-acbb-41bc-84bf-876a7f74fc21',
  generation: 1,
  spec: 'AES_256',
  origin: 'kms',
  serviceKey,
  description: '',
  createdAt: '',
  state,
  deletionDate: null,
  primaryVersion: 1,
  versions: [],
});

const verdict = (state: KeyState, verb: Verb, serviceKey = false): string => {
  try {
    return decide(record(state, serviceKey), verb, NOW_MS).state;
  } catch (error) {
    return (error as { code: string }).code;
  }
};

t.test('every pair of state and verb has its verdict', async (t) => {
  const expected: Record<KeyState, string[]> = {
    enabled: ['enabled', 'disabled', 'pendingDeletion', 'KMS_STATE', 'enabled'],
    disabled: ['enabled', 'disabled', 'pendingDeletion', 'KMS_STATE', 'KMS_STATE'],
    pendingDeletion: ['KMS_STATE', 'KMS_STATE', 'KMS_STATE', 'disabled', 'KMS_STATE'],
    pendingImport: ['KMS_STATE', 'KMS_STATE', 'pendingDeletion', 'KMS_STATE', 'KMS_STATE'],
  };
  for (const state of STATES) {
    t.same(
      VERBS.map((verb) => verdict(state, verb)),
      expected[state],
      state,
    );
  }
});

t.test('the service key refuses all but enable', async (t) => {
  t.same(
    VERBS.map((verb) => verdict('enabled', verb, true)),
    ['enabled', 'KMS_SERVICE_KEY', 'KMS_SERVICE_KEY', 'KMS_SERVICE_KEY', 'KMS_SERVICE_KEY'],
  );
});

t.test('dates the deletion by its window, which is 7 to 366 days', async (t) => {
  const change = decide(record('enabled'), { kind: 'scheduleDeletion', windowDays: 7 }, NOW_MS);
  t.equal(change.deletionDate, '2026-01-08T00:00:00.000Z');
  for (const windowDays of [6, 367, 7.5, Number.NaN]) {
    t.equal(verdict('enabled', { kind: 'scheduleDeletion', windowDays }), 'USAGE', `${windowDays} days`);
  }
  t.equal(decide(record('pendingDeletion'), { kind: 'cancelDeletion' }, NOW_MS).deletionDate, null);
});
