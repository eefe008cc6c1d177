/**
 * One CMK: made, changed, and whether it may be used. Pure over its record, but for the clock and fresh random
 * bytes.
 */

import { randomUUID } from 'node:crypto';
import { fail } from '../../errors.js';
import { failureOfState, type SecretBytes } from '../provider.js';
import { decide, type Verb } from './lifecycle.js';
import { type KeyRecord, makeVersion, SYMMETRIC_SPEC } from './record.js';

export function newRecord(
  facts: Pick<KeyRecord, 'spec' | 'description' | 'serviceKey'>,
  root: SecretBytes,
): KeyRecord {
  const keyId = randomUUID();
  const createdAt = new Date().toISOString();
  return {
    format: 1,
    keyId,
    generation: 1,
    origin: 'kms',
    createdAt,
    state: 'enabled',
    deletionDate: null,
    primaryVersion: 1,
    versions: [makeVersion(keyId, 1, createdAt, root)],
    ...facts,
  };
}

export const newServiceKey = (root: SecretBytes): KeyRecord =>
  newRecord({ spec: SYMMETRIC_SPEC, description: 'service key', serviceKey: true }, root);

/** The record after `verb`; the same object when nothing changes. */
export function apply(record: KeyRecord, verb: Verb, root: SecretBytes): KeyRecord {
  const change = decide(record, verb, Date.now());
  const generation = record.generation + 1;
  if (verb.kind === 'rotate') {
    const version = record.primaryVersion + 1;
    const made = makeVersion(record.keyId, version, new Date().toISOString(), root);
    return { ...record, generation, primaryVersion: version, versions: [...record.versions, made] };
  }
  return change.state === record.state ? record : { ...record, ...change, generation };
}

/** `record`, if its key can wrap and unwrap now; else the failure that says why not. */
export function usable(record: KeyRecord, keyUri: string): KeyRecord {
  if (record.spec !== SYMMETRIC_SPEC) {
    fail('KMS_UNSUPPORTED_KEY', { keyUri, found: record.spec, expected: SYMMETRIC_SPEC });
  }
  const failure = failureOfState(record.state, keyUri);
  if (failure) throw failure;
  return record;
}
