/**
 * Names of keys: what an alias may be, what it points to, and the record behind a name.
 */

import { fail } from '../../errors.js';
import type { KeyRecord } from './record.js';
import { isAlias, parseLocal } from './ref.js';
import type { OpenStore } from './store.js';

/** The record that `canonical` names, or KMS_KEY_NOT_FOUND. */
export async function find(store: OpenStore, canonical: string): Promise<KeyRecord> {
  const { ref } = parseLocal(canonical);
  const keyId = ref.kind === 'keyId' ? ref.keyId : (await store.readAliases()).aliases.get(ref.alias);
  const record = keyId === undefined ? undefined : await store.readRecord(keyId);
  return record ?? fail('KMS_KEY_NOT_FOUND', { keyUri: canonical });
}

/** Fails with KMS_ALIAS_SYNTAX; alias/acs/ is for service keys. */
export function checkNewAlias(alias: string): void {
  if (!isAlias(alias) || alias.startsWith('alias/acs/')) fail('KMS_ALIAS_SYNTAX', { found: alias });
}

export async function checkFree(store: OpenStore, alias: string): Promise<void> {
  const keyId = (await store.readAliases()).aliases.get(alias);
  if (keyId !== undefined) fail('KMS_ALIAS_TAKEN', { alias, keyId });
}

/** Adds the alias. The caller holds the lock. */
export async function point(store: OpenStore, alias: string, keyId: string): Promise<void> {
  const { aliases, generation } = await store.readAliases();
  await store.writeAliases(new Map([...aliases, [alias, keyId]]), generation + 1);
}

export const aliasesOf = (aliases: ReadonlyMap<string, string>, keyId: string): string[] =>
  [...aliases].filter(([, id]) => id === keyId).map(([alias]) => alias);
