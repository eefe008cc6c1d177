/**
 * What may happen to a CMK, as pure functions over (record, verb, now): the next state, or the refusal.
 *
 *   enabled  <-> disabled          enable, disable (doing it twice is fine)
 *   either   --> pendingDeletion   scheduleDeletion, with the date; not while the key is protected
 *   pendingDeletion --> disabled   cancelDeletion, or to enabled where that is asked for
 *   imported --> pendingImport     deleteMaterial, or when the material's time is over
 *   pendingImport --> enabled      importMaterial
 *
 * The clock decides too: past its deletion date a key is gone, and imported material ends. Nobody changes the service key
 * by hand.
 */

import { fail, unreachable } from '../../errors.js';
import type { KeyState } from '../provider.js';
import type { KeyRecord } from './record.js';

export type Verb =
  | { readonly kind: 'enable' }
  | { readonly kind: 'disable' }
  | { readonly kind: 'scheduleDeletion'; readonly windowDays: number }
  | { readonly kind: 'cancelDeletion'; readonly to: 'enabled' | 'disabled' }
  | { readonly kind: 'rotate' }
  | { readonly kind: 'setRotation' }
  | { readonly kind: 'edit' }
  | { readonly kind: 'importParameters' }
  | { readonly kind: 'importMaterial' }
  | { readonly kind: 'deleteMaterial' };

export const DELETION_WINDOW_DAYS = { min: 7, max: 366, default: 30 } as const;
export const DAY_MS = 24 * 60 * 60 * 1000;

const SAYS: Readonly<Record<Verb['kind'], string>> = {
  enable: 'enabled',
  disable: 'disabled',
  scheduleDeletion: 'scheduled for deletion',
  cancelDeletion: 'kept: it is not pending deletion',
  rotate: 'rotated',
  setRotation: 'rotated',
  edit: 'changed',
  importParameters: 'given material',
  importMaterial: 'given material',
  deleteMaterial: 'left without material',
};

/** States from which a verb may start. */
const FROM: Readonly<Record<Verb['kind'], readonly KeyState[]>> = {
  enable: ['enabled', 'disabled'],
  disable: ['enabled', 'disabled'],
  scheduleDeletion: ['enabled', 'disabled', 'pendingImport'],
  cancelDeletion: ['pendingDeletion'],
  rotate: ['enabled'],
  setRotation: ['enabled', 'disabled'],
  edit: ['enabled', 'disabled', 'pendingImport'],
  importParameters: ['enabled', 'disabled', 'pendingImport'],
  importMaterial: ['enabled', 'disabled', 'pendingImport'],
  deleteMaterial: ['enabled', 'disabled', 'pendingImport'],
};

/** Verbs that only one origin has, and why the other has not. */
const ORIGIN: Readonly<Partial<Record<Verb['kind'], KeyRecord['origin']>>> = {
  rotate: 'kms',
  setRotation: 'kms',
  importParameters: 'external',
  importMaterial: 'external',
  deleteMaterial: 'external',
};
const ORIGIN_WHY = { kms: 'its material is imported', external: 'its material was made here' } as const;

type Change = Pick<KeyRecord, 'state' | 'deletionDate'>;

/** The record as it stands at `nowMs`; undefined once the key is gone. */
export function recordAt(record: KeyRecord, nowMs: number): KeyRecord | undefined {
  const { state, deletionDate } = record;
  if (state === 'pendingDeletion') {
    return deletionDate !== null && Date.parse(deletionDate) <= nowMs ? undefined : record;
  }
  return materialEnded(record, nowMs)
    ? { ...record, state: 'pendingImport', versions: emptied(record) }
    : record;
}

/** Whether the time of imported material is over. */
export const materialEnded = ({ materialExpiresAt }: KeyRecord, nowMs: number): boolean =>
  materialExpiresAt !== null && Date.parse(materialExpiresAt) <= nowMs;

/** The versions of a record without their material. */
export const emptied = ({ versions }: KeyRecord): KeyRecord['versions'] =>
  versions.map((each) => ({ ...each, material: null }));

/** Whether a new version is due, of a key that can have one. */
export const rotationDue = ({ rotation, state }: KeyRecord, nowMs: number): boolean =>
  rotation !== null && state === 'enabled' && Date.parse(rotation.nextAt) <= nowMs;

/**
 * State and deletion date after `verb`, of a record as it stands now. Fails with KMS_SERVICE_KEY, KMS_STATE, KMS_KEY_KIND,
 * KMS_PROTECTED or USAGE.
 */
export function decide(record: KeyRecord, verb: Verb, nowMs: number): Change {
  check(record, verb);
  const { state, deletionDate } = record;
  switch (verb.kind) {
    case 'enable':
      return { state: 'enabled', deletionDate: null };
    case 'disable':
      return { state: 'disabled', deletionDate: null };
    case 'scheduleDeletion':
      return { state: 'pendingDeletion', deletionDate: deletionDateOf(verb.windowDays, nowMs) };
    case 'cancelDeletion':
      return { state: hasMaterial(record) ? verb.to : 'pendingImport', deletionDate: null };
    case 'importMaterial':
      return { state: state === 'pendingImport' ? 'enabled' : state, deletionDate };
    case 'deleteMaterial':
      return { state: 'pendingImport', deletionDate };
    case 'rotate':
    case 'setRotation':
    case 'edit':
    case 'importParameters':
      return { state, deletionDate };
    default:
      return unreachable(verb);
  }
}

function check(record: KeyRecord, verb: Verb): void {
  const { kind } = verb;
  const keyUri = `local:${record.keyId}`;
  if (record.serviceKey && kind !== 'enable') fail('KMS_SERVICE_KEY', { verb: SAYS[kind] });
  const origin = ORIGIN[kind];
  if (origin !== undefined && origin !== record.origin) {
    fail('KMS_KEY_KIND', { keyUri, verb: SAYS[kind], why: ORIGIN_WHY[origin] });
  }
  if (!FROM[kind].includes(record.state)) {
    fail('KMS_STATE', { keyUri, state: record.state, verb: SAYS[kind] });
  }
  if (kind === 'scheduleDeletion' && record.deletionProtection) fail('KMS_PROTECTED', { keyUri });
}

/** Whether a record has any. */
export const hasMaterial = ({ versions }: KeyRecord): boolean =>
  versions.some(({ material }) => material !== null);

function deletionDateOf(windowDays: number, nowMs: number): string {
  const { min, max } = DELETION_WINDOW_DAYS;
  if (!Number.isInteger(windowDays) || windowDays < min || windowDays > max) {
    fail('USAGE', { what: `a deletion window is ${min} to ${max} days, not ${windowDays}` });
  }
  return new Date(nowMs + windowDays * DAY_MS).toISOString();
}
