/** The service key: it comes into being when it is first named, once, however many processes name it at that moment. */

import { isFailure } from '../../errors.js';
import { keyIdOf, point } from './alias.js';
import { appendAudit } from './audit.js';
import { newServiceKey } from './cmk.js';
import type { Deadline } from './deadline.js';
import { SERVICE_ALIAS } from './ref.js';
import type { OpenStore, Store } from './store.js';

/** Makes the service key when `keyUri` is its alias and nobody has made it. */
export async function makeServiceKey(store: Store, keyUri: string, deadline: Deadline): Promise<void> {
  if (keyUri !== `local:${SERVICE_ALIAS}` || (await isThere(store, keyUri))) return;
  await store.change(keyUri, deadline, true, async (open) => {
    if ((await keyIdOf(open, SERVICE_ALIAS)) !== undefined) return;
    const record = (await orphan(open)) ?? (await newServiceKey(open.root));
    await point(open, SERVICE_ALIAS, record);
    await appendAudit(open.dir, { operation: 'CreateServiceKey', key: record.keyId, outcome: 'ok' }, true);
  });
}

async function isThere(store: Store, keyUri: string): Promise<boolean> {
  try {
    return (await store.read(keyUri, (open) => keyIdOf(open, SERVICE_ALIAS))) !== undefined;
  } catch (error) {
    if (isFailure(error, 'KMS_CONNECTION')) return false; // no store yet: making it decides what is wrong, if anything
    throw error;
  }
}

/** One that a killed process made, but did not come to name. */
async function orphan(store: OpenStore) {
  for (const keyId of await store.keyIds()) {
    const record = await store.readRecord(keyId);
    if (record?.serviceKey) return record;
  }
  return undefined;
}
