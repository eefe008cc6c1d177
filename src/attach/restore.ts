/** A disk put back to what a snapshot of it holds. */

import { restore } from '../disk/derive.js';
import type { StoredObject } from '../disk/object.js';
import { fail } from '../errors.js';
import type { ProviderEnvironment } from '../kms/provider.js';
import { openProvider } from '../kms/registry.js';
import { mayTouch } from '../pool/may.js';
import { find } from './attachments.js';
import { refuseInService } from './delete.js';

/**
 * Restores a disk that nobody serves; killed at any time it is as it was, or as the snapshot. Fails with DISK_ATTACHED, POLICY_DENIED, with
 * DISK_DERIVE for a snapshot of another key or owner, else as `derive`.
 */
export async function restoreFrom(
  snapshot: StoredObject,
  disk: StoredObject,
  environment: ProviderEnvironment,
): Promise<StoredObject> {
  refuseInService(disk, await find(disk.uuid));
  await mayTouch('ecs:ResetDisk', disk, environment);
  const from = snapshot.encrypted?.token;
  const to = disk.encrypted?.token;
  const path = snapshot.path;
  if (from?.keyId !== to?.keyId) fail('DISK_DERIVE', { path, why: `another key wraps ${disk.path}` });
  if (snapshot.label.tags.owner !== disk.label.tags.owner) {
    fail('DISK_DERIVE', { path, why: `${disk.path} belongs to another owner` });
  }
  if (from === undefined) return restore(snapshot, disk, undefined);
  const provider = await openProvider(from.keyUri, environment);
  try {
    return await restore(snapshot, disk, provider);
  } finally {
    await provider.close();
  }
}
