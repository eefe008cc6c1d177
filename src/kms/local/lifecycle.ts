/**
 * What may happen to a CMK, as a pure function over (record, verb, now): the next record, or the refusal.
 *
 *   enabled  <-> disabled          enable, disable (doing it twice is fine)
 *   either   --> pendingDeletion   scheduleDeletion, with the date
 *   pendingDeletion --> disabled   cancelDeletion; it is enabled by a decision of its own
 *
 * Nobody disables, deletes or rotates the service key by hand.
 */

import { fail, unreachable } from '../../errors.js';
import type { KeyState } from '../provider.js';
import type { KeyRecord } from './record.js';

export type Verb =
  | { readonly kind: 'enable' }
  | { readonly kind: 'disable' }
  | { readonly kind: 'scheduleDeletion'; readonly windowDays: number }
  | { readonly kind: 'cancelDeletion' }
  | { readonly kind: 'rotate' };

export const DELETION_WINDOW_DAYS = { min: 7, max: 366, default: 30 } as const;
const DAY_MS = 24 * 60 * 60 * 1000;

const SAYS: Readonly<Record<Verb['kind'], string>> = {
  enable: 'enabled',
  disable: 'disabled',
  scheduleDeletion: 'scheduled for deletion',
  cancelDeletion: 'kept: it is not pending deletion',
  rotate: 'rotated',
};

/** States from which a verb may start. */
const FROM: Readonly<Record<Verb['kind'], readonly KeyState[]>> = {
  enable: ['enabled', 'disabled'],
  disable: ['enabled', 'disabled'],
  scheduleDeletion: ['enabled', 'disabled', 'pendingImport'],
  cancelDeletion: ['pendingDeletion'],
  rotate: ['enabled'],
};

type Change = Pick<KeyRecord, 'state' | 'deletionDate'>;

/** State and deletion date after `verb`. Fails with KMS_SERVICE_KEY, KMS_STATE or USAGE. */
export function decide(record: KeyRecord, verb: Verb, nowMs: number): Change {
  if (record.serviceKey && verb.kind !== 'enable') fail('KMS_SERVICE_KEY', { verb: SAYS[verb.kind] });
  if (!FROM[verb.kind].includes(record.state)) {
    fail('KMS_STATE', { keyUri: `local:${record.keyId}`, state: record.state, verb: SAYS[verb.kind] });
  }
  switch (verb.kind) {
    case 'enable':
      return { state: 'enabled', deletionDate: null };
    case 'disable':
      return { state: 'disabled', deletionDate: null };
    case 'scheduleDeletion':
      return { state: 'pendingDeletion', deletionDate: deletionDate(verb.windowDays, nowMs) };
    case 'cancelDeletion':
      return { state: 'disabled', deletionDate: null };
    case 'rotate':
      return { state: record.state, deletionDate: record.deletionDate };
    default:
      return unreachable(verb);
  }
}

function deletionDate(windowDays: number, nowMs: number): string {
  const { min, max } = DELETION_WINDOW_DAYS;
  if (!Number.isInteger(windowDays) || windowDays < min || windowDays > max) {
    fail('USAGE', { what: `a deletion window is ${min} to ${max} days, not ${windowDays}` });
  }
  return new Date(nowMs + windowDays * DAY_MS).toISOString();
}
