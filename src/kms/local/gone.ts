/**
 * Keys past their deletion date. By the clock they are gone at once (lifecycle.ts); their records, and with them all
 * material, are destroyed by a sweep (sweep.ts), or by a change that meets them before: one that names the key, or that
 * wants a name it had.
 */

import { fail } from '../../errors.js';
import { findWritten, keyIdOf, removeAll } from './alias.js';
import { appendAudit } from './audit.js';
import { recordAt } from './lifecycle.js';
import type { KeyRecord } from './record.js';
import type { OpenStore } from './store.js';

/** The record to change, as it stands now. Fails with KMS_KEY_NOT_FOUND. The caller holds the lock. */
export async function findToChange(store: OpenStore, canonical: string): Promise<KeyRecord> {
  const written = await findWritten(store, canonical);
  return (await keptOrDestroyed(store, written)) ?? fail('KMS_KEY_NOT_FOUND', { keyUri: canonical });
}

/** Fails with KMS_ALIAS_TAKEN while a key has the name. The caller holds the lock. */
export async function checkFree(store: OpenStore, alias: string): Promise<void> {
  const keyId = await keyIdOf(store, alias);
  if (keyId === undefined) return;
  const written = await store.readRecord(keyId);
  if (written && !(await keptOrDestroyed(store, written))) return;
  fail('KMS_ALIAS_TAKEN', { alias, keyId });
}

async function keptOrDestroyed(store: OpenStore, written: KeyRecord): Promise<KeyRecord | undefined> {
  const record = recordAt(written, Date.now());
  if (record) return record;
  await destroy(store, written);
  return undefined;
}

/** Destroys a key: its names, its record, all material. The caller holds the lock. */
export async function destroy(store: OpenStore, written: KeyRecord): Promise<void> {
  await tell(store, 'DestroyKey', written);
  await removeAll(store, written);
  await store.removeRecord(written.keyId);
}

/** The line of what the clock does to a key, written first: who is killed after it leaves a line too many, not one too few. */
export async function tell(store: OpenStore, operation: string, { keyId }: KeyRecord): Promise<void> {
  await appendAudit(store.dir, { operation, key: keyId, outcome: 'ok', who: 'sealdisk' }, true);
}
