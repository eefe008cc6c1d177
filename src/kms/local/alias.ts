/**
 * Names of keys. Each alias is one sealed file, `aliases/<hash of the name>`, which says what it names: that is the truth,
 * and a name costs the same among ten keys and among a hundred thousand.
 *
 * A key's record lists its aliases, too, so that they can be shown; perhaps one more than there are, never one less. So a
 * name is put into the record before its file is written, and taken out after: who is killed in between leaves a list
 * that is checked against the files when it is shown.
 */

import { createHash } from 'node:crypto';
import { fail } from '../../errors.js';
import { recordAt } from './lifecycle.js';
import { type Page, type PageOptions, pageOf } from './page.js';
import type { KeyRecord } from './record.js';
import { isAlias, parseLocal, SERVICE_ALIAS } from './ref.js';
import type { OpenStore } from './store.js';

export const ALIASES = 'aliases';
const RESERVED = 'alias/acs/';

export interface AliasEntry {
  readonly alias: string;
  readonly keyId: string;
}

/** Name of the file of an alias, in its folder. */
export const fileOf = (alias: string): string => createHash('sha256').update(alias).digest('hex');
const pathOf = (alias: string): string => `${ALIASES}/${fileOf(alias)}`;

/** The record that `canonical` names, as it stands now, or KMS_KEY_NOT_FOUND. */
export async function find(store: OpenStore, canonical: string): Promise<KeyRecord> {
  const record = await findWritten(store, canonical);
  return recordAt(record, Date.now()) ?? fail('KMS_KEY_NOT_FOUND', { keyUri: canonical });
}

/** As it was written, also one whose time is over. */
export async function findWritten(store: OpenStore, canonical: string): Promise<KeyRecord> {
  const { ref } = parseLocal(canonical);
  const keyId = ref.kind === 'keyId' ? ref.keyId : await keyIdOf(store, ref.alias);
  const record = keyId === undefined ? undefined : await store.readRecord(keyId);
  return record ?? fail('KMS_KEY_NOT_FOUND', { keyUri: canonical });
}

/** The id of the key that `alias` names. */
export const keyIdOf = async (store: OpenStore, alias: string): Promise<string | undefined> =>
  (await readFile(store, fileOf(alias)))?.keyId;

/** What the file `name` of the folder says. */
async function readFile(store: OpenStore, name: string): Promise<AliasEntry | undefined> {
  const plain = await store.readSealed(`${ALIASES}/${name}`);
  return plain && (JSON.parse(plain.toString()) as AliasEntry);
}

/** The aliases of a key, in the order of their names. */
export async function aliasesOf(store: OpenStore, { keyId, aliases }: KeyRecord): Promise<string[]> {
  const names = await Promise.all(aliases.map((alias) => keyIdOf(store, alias)));
  return aliases.filter((_, i) => names[i] === keyId).sort();
}

/** A page of the aliases of one key. */
export async function pageOfKey(
  store: OpenStore,
  record: KeyRecord,
  page: PageOptions,
): Promise<Page<'aliases', AliasEntry>> {
  const { names, ...rest } = pageOf(await aliasesOf(store, record), page);
  return { aliases: names.map((alias) => ({ alias, keyId: record.keyId })), ...rest };
}

/** A page of all aliases but those that are `gone`, in the order of their files. */
export async function pageOfAll(
  store: OpenStore,
  page: PageOptions,
  gone: readonly string[],
): Promise<Page<'aliases', AliasEntry>> {
  const goneFiles = new Set(gone.map(fileOf));
  const files = (await store.namesIn(ALIASES)).filter((name) => !goneFiles.has(name));
  const { names, total, next } = pageOf(files, page, fileOf);
  const entries = await Promise.all(names.map((name) => readFile(store, name)));
  const aliases = entries.filter((entry) => entry !== undefined);
  const last = aliases.at(-1);
  return { aliases, total, ...(next !== undefined && last ? { next: last.alias } : {}) };
}

/** Fails with KMS_ALIAS_SYNTAX; alias/acs/ is for service keys. */
export function checkNewAlias(alias: string): void {
  if (!isAlias(alias) || alias.startsWith(RESERVED)) fail('KMS_ALIAS_SYNTAX', { found: alias });
}

/** Makes the alias name the key of `record`, which is written. The caller holds the lock. */
export async function point(store: OpenStore, alias: string, record: KeyRecord): Promise<void> {
  if (!record.aliases.includes(alias)) {
    await store.writeRecord({ ...record, aliases: [...record.aliases, alias] });
  }
  await store.writeSealed(pathOf(alias), Buffer.from(JSON.stringify({ alias, keyId: record.keyId })));
}

/** Takes the alias from the key's list, after it names another key or none. The caller holds the lock. */
export async function forget(store: OpenStore, alias: string, keyId: string): Promise<void> {
  const record = await store.readRecord(keyId);
  if (!record?.aliases.includes(alias)) return;
  await store.writeRecord({ ...record, aliases: record.aliases.filter((each) => each !== alias) });
}

/** Takes away the names of a key that goes itself. The caller holds the lock. */
export async function removeAll(store: OpenStore, record: KeyRecord): Promise<void> {
  for (const alias of await aliasesOf(store, record)) await store.removeSealed(pathOf(alias));
}

/** The key loses this name. Fails with KMS_ALIAS_NOT_FOUND. The caller holds the lock. */
export async function remove(store: OpenStore, alias: string): Promise<string> {
  const keyId = await keyIdOf(store, alias);
  if (keyId === undefined || alias === SERVICE_ALIAS) return fail('KMS_ALIAS_NOT_FOUND', { alias });
  await store.removeSealed(pathOf(alias));
  await forget(store, alias, keyId);
  return keyId;
}
