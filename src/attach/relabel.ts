/** Another name or other tags for an object, wherever it is: by the server that serves it, else here. */

import { readObject, type StoredObject } from '../disk/object.js';
import { type LabelChange, relabelDetached } from '../disk/relabel.js';
import type { ProviderEnvironment } from '../kms/provider.js';
import type { Action } from '../policy/language.js';
import { mayTouch } from '../pool/may.js';
import { askControl } from './control.js';

const RELABEL_TIMEOUT_MS = 60_000;

/** Fails with POLICY_DENIED, DISK_*, LUKS2_*, KEY_URI_* or KMS_*; then nothing was changed. */
export async function relabel(
  path: string,
  change: LabelChange,
  environment: ProviderEnvironment,
): Promise<StoredObject> {
  const object = await readObject(path);
  for (const action of actionsOf(change)) await mayTouch(action, object, environment);
  const done = await askControl(object.uuid, { verb: 'relabel', change }, RELABEL_TIMEOUT_MS);
  if (done === undefined) return relabelDetached(object, change, environment);
  return readObject(path);
}

/** What a policy calls that: whoever may take a tag away can leave what a policy forbids for that tag. */
function actionsOf({ name, tags }: LabelChange): Action[] {
  const values = Object.values(tags ?? {});
  const actions: [boolean, Action][] = [
    [name !== undefined, 'ecs:ModifyDiskAttribute'],
    [values.some((value) => value !== null), 'ecs:TagResources'],
    [values.includes(null), 'ecs:UntagResources'],
  ];
  return actions.filter(([asked]) => asked).map(([, action]) => action);
}
