/**
 * One CMK: made, changed, and whether it may be used. Over its record alone, but for the clock and fresh random bytes.
 */

import { randomUUID } from 'node:crypto';
import { fail } from '../../errors.js';
import { failureOfState, type SecretBytes } from '../provider.js';
import { DAY_MS, decide, type Verb } from './lifecycle.js';
import { type KeyRecord, sealVersion } from './record.js';
import { freeSecret } from './secret.js';
import { freshMaterial, SYMMETRIC_SPEC } from './specs.js';

export const ROTATION_DAYS = { min: 1, max: 2560 } as const;

/** What its maker says of a new key. */
export interface NewKey {
  readonly spec: string;
  readonly description: string;
  readonly origin: KeyRecord['origin'];
  readonly deletionProtection: boolean;
  readonly tags: Readonly<Record<string, string>>;
  readonly rotationDays: number | null;
}

/** What a new key is where nothing else is said. */
export const PLAIN_KEY: NewKey = {
  spec: SYMMETRIC_SPEC,
  description: '',
  origin: 'kms',
  deletionProtection: false,
  tags: {},
  rotationDays: null,
};

/** A new record; one whose material is to be imported has none yet, and is symmetric. */
export async function newRecord(wanted: NewKey, serviceKey: boolean, root: SecretBytes): Promise<KeyRecord> {
  const { spec, description, origin, deletionProtection, tags, rotationDays } = wanted;
  const keyId = randomUUID();
  const nowMs = Date.now();
  const createdAt = new Date(nowMs).toISOString();
  if (origin === 'external' && spec !== SYMMETRIC_SPEC) {
    fail('KMS_UNSUPPORTED_KEY', { keyUri: 'local:', found: `${spec} to import`, expected: SYMMETRIC_SPEC });
  }
  const first =
    origin === 'external'
      ? { version: 1, createdAt, material: null }
      : await freshVersion({ keyId, spec }, 1, createdAt, root);
  const record: KeyRecord = {
    format: 1,
    keyId,
    generation: 0,
    spec,
    origin,
    serviceKey,
    description: checkDescription(description),
    createdAt,
    state: origin === 'external' ? 'pendingImport' : 'enabled',
    deletionDate: null,
    deletionProtection,
    primaryVersion: 1,
    versions: [first],
    aliases: [],
    tags: checkTags(tags),
    rotation: null,
    materialExpiresAt: null,
    materialMark: null,
  };
  return rotationDays === null ? record : withRotation(record, rotationDays, nowMs);
}

export const newServiceKey = (root: SecretBytes): Promise<KeyRecord> =>
  newRecord({ ...PLAIN_KEY, description: 'service key' }, true, root);

/** The record after a change of its state; the same object when nothing changes. */
export function apply(record: KeyRecord, verb: Verb, nowMs: number): KeyRecord {
  const change = decide(record, verb, nowMs);
  const same = change.state === record.state && change.deletionDate === record.deletionDate;
  return same ? record : { ...record, ...change };
}

/** The record with fresh material for what is wrapped from now on. */
export async function rotated(record: KeyRecord, nowMs: number, root: SecretBytes): Promise<KeyRecord> {
  decide(record, { kind: 'rotate' }, nowMs);
  checkSymmetric(record, `local:${record.keyId}`);
  const version = record.primaryVersion + 1;
  const made = await freshVersion(record, version, new Date(nowMs).toISOString(), root);
  const next = { ...record, primaryVersion: version, versions: [...record.versions, made] };
  return record.rotation ? withRotation(next, record.rotation.periodDays, nowMs) : next;
}

/** The record with a period of rotation, or without one. */
export function rotating(record: KeyRecord, periodDays: number | null, nowMs: number): KeyRecord {
  decide(record, { kind: 'setRotation' }, nowMs);
  checkSymmetric(record, `local:${record.keyId}`);
  return periodDays === null ? { ...record, rotation: null } : withRotation(record, periodDays, nowMs);
}

/** What an edit may give another value. */
export type Edit = Partial<Pick<KeyRecord, 'description' | 'deletionProtection' | 'tags'>>;

export function edited(record: KeyRecord, edit: Edit, nowMs: number): KeyRecord {
  decide(record, { kind: 'edit' }, nowMs);
  if (edit.description !== undefined) checkDescription(edit.description);
  if (edit.tags !== undefined) checkTags(edit.tags);
  return { ...record, ...edit };
}

/** `record`, if its key can wrap and unwrap now; else the failure that says why not. */
export function usable(record: KeyRecord, keyUri: string): KeyRecord {
  checkSymmetric(record, keyUri);
  const failure = failureOfState(record.state, keyUri);
  if (failure) throw failure;
  return record;
}

async function freshVersion(
  { keyId, spec }: Pick<KeyRecord, 'keyId' | 'spec'>,
  version: number,
  createdAt: string,
  root: SecretBytes,
) {
  const material = await freshMaterial(spec);
  try {
    return sealVersion(keyId, version, createdAt, material, root);
  } finally {
    freeSecret(material);
  }
}

function checkSymmetric({ spec }: KeyRecord, keyUri: string): void {
  if (spec !== SYMMETRIC_SPEC) fail('KMS_UNSUPPORTED_KEY', { keyUri, found: spec, expected: SYMMETRIC_SPEC });
}

function withRotation(record: KeyRecord, periodDays: number, nowMs: number): KeyRecord {
  const { min, max } = ROTATION_DAYS;
  if (!Number.isInteger(periodDays) || periodDays < min || periodDays > max) {
    fail('USAGE', { what: `a key is rotated every ${min} to ${max} days, not ${periodDays}` });
  }
  if (record.origin === 'external' || record.spec !== SYMMETRIC_SPEC) {
    const why = 'only symmetric keys made here can be';
    fail('KMS_KEY_KIND', { keyUri: `local:${record.keyId}`, verb: 'rotated', why });
  }
  return { ...record, rotation: { periodDays, nextAt: new Date(nowMs + periodDays * DAY_MS).toISOString() } };
}

const DESCRIPTION_MAX_CHARS = 8192;
const TAGS_MAX = 50;
const TAG_MAX_CHARS = { name: 128, value: 256 } as const;

function checkDescription(text: string): string {
  if (text.length <= DESCRIPTION_MAX_CHARS) return text;
  return fail('USAGE', { what: `a description has at most ${DESCRIPTION_MAX_CHARS} characters` });
}

function checkTags(tags: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const pairs = Object.entries(tags);
  if (pairs.length > TAGS_MAX) fail('USAGE', { what: `a key has at most ${TAGS_MAX} tags` });
  for (const [name, value] of pairs) {
    if (name === '' || name.length > TAG_MAX_CHARS.name || value.length > TAG_MAX_CHARS.value) {
      fail('USAGE', {
        what: `a tag has a name of 1 to ${TAG_MAX_CHARS.name} characters and a value of at most ${TAG_MAX_CHARS.value}`,
      });
    }
  }
  return tags;
}
