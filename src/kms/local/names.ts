/** What LocalKms does with aliases: alias.ts says how they lie, here is who may get and lose them. */

import { fail } from '../../errors.js';
import {
  type AliasEntry,
  checkNewAlias,
  find,
  forget,
  keyIdOf,
  pageOfAll,
  pageOfKey,
  point,
  remove,
} from './alias.js';
import { type Calls, type Draft, type LocalCallOptions, whatOf } from './calls.js';
import { checkFree, findToChange } from './gone.js';
import { decide } from './lifecycle.js';
import type { Page, PageOptions } from './page.js';
import type { KeyRecord } from './record.js';
import { parseLocal } from './ref.js';
import type { OpenStore } from './store.js';
import { goneAliases } from './sweep.js';

type Call = LocalCallOptions | undefined;

export async function createAlias(calls: Calls, alias: string, ref: string, call: Call): Promise<void> {
  checkNewAlias(alias);
  await calls.changing(whatOf('CreateAlias', ref, call), false, async (store, audit) => {
    const record = await findToName(store, ref, audit);
    await checkFree(store, alias);
    await point(store, alias, record);
  });
}

export async function updateAlias(calls: Calls, alias: string, ref: string, call: Call): Promise<void> {
  checkNewAlias(alias);
  await calls.changing(whatOf('UpdateAlias', ref, call), false, async (store, audit) => {
    const record = await findToName(store, ref, audit);
    const before = await keyIdOf(store, alias);
    if (before === undefined) fail('KMS_ALIAS_NOT_FOUND', { alias });
    if (before === record.keyId) return;
    await point(store, alias, record);
    await forget(store, alias, before);
  });
}

export async function deleteAlias(calls: Calls, alias: string, call: Call): Promise<void> {
  checkNewAlias(alias);
  const what = { operation: 'DeleteAlias', keyUri: `local:${alias}`, call };
  await calls.changing(what, false, async (store, audit) => {
    audit.key = await remove(store, alias);
  });
}

export async function listAliases(
  calls: Calls,
  { ref, ...page }: PageOptions & { readonly ref?: string },
  call: Call,
): Promise<Page<'aliases', AliasEntry>> {
  if (ref === undefined && !(await calls.store.exists())) return { aliases: [], total: 0 };
  const keyUri = ref === undefined ? 'local:' : parseLocal(ref).canonical;
  return calls.reading(keyUri, call, async (store) =>
    ref === undefined
      ? pageOfAll(store, page, await goneAliases(store))
      : pageOfKey(store, await find(store, keyUri), page),
  );
}

async function findToName(store: OpenStore, ref: string, audit: Draft): Promise<KeyRecord> {
  const record = await findToChange(store, parseLocal(ref).canonical);
  audit.key = record.keyId;
  decide(record, { kind: 'edit' }, Date.now());
  return record;
}
