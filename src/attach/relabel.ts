/** Another name or other tags for an object, wherever it is: by the server that serves it, else here. */

import { readObject, type StoredObject } from '../disk/object.js';
import { type LabelChange, relabelDetached } from '../disk/relabel.js';
import type { ProviderEnvironment } from '../kms/provider.js';
import { askControl } from './control.js';

const RELABEL_TIMEOUT_MS = 60_000;

/** Fails with DISK_*, LUKS2_*, KEY_URI_* or KMS_*; then nothing was changed. */
export async function relabel(
  path: string,
  change: LabelChange,
  environment: ProviderEnvironment,
): Promise<StoredObject> {
  const object = await readObject(path);
  const done = await askControl(object.uuid, { verb: 'relabel', change }, RELABEL_TIMEOUT_MS);
  if (done === undefined) return relabelDetached(object, change, environment);
  return readObject(path);
}
