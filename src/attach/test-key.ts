/**
 * The test that shows best that a disk is encrypted, and under which key: with the key disabled it cannot be opened.
 *
 * Kept true: nobody else's disk stops for it, and the key is enabled again whatever happens here. Only what no process can
 * help, a kill or a power failure between the two, leaves it disabled; `sealdisk key enable` is the way on then.
 */

import { join } from 'node:path';
import { unwrapDataKey } from '../disk/envelope.js';
import { KMS_TIMEOUT_MS } from '../disk/patience.js';
import type { DiskDescription } from '../disk/read.js';
import { fail, failureOf, type SealdiskError } from '../errors.js';
import { LocalKms } from '../kms/local/local-kms.js';
import type { ProviderEnvironment } from '../kms/provider.js';
import { openProvider } from '../kms/registry.js';
import { deletable } from './delete.js';
import { usageOf } from './key-usage.js';

export interface KeyTest {
  readonly keyUri: string;
  /** What opening it ended in while the key was disabled. */
  readonly refusal: SealdiskError;
}

/**
 * Opens the disk, disables its key, tries again, enables the key. `confirm` is asked before anything is changed. Fails with DISK_PLAIN,
 * DISK_ATTACHED when something under the key is in service, KMS_KEY_KIND for a key of another KMS than the embedded one,
 * KMS_SERVICE_KEY, as `unwrapDataKey`; with DISK_NOT_ENCRYPTED when the disk opens although its key is disabled.
 */
export async function testKey(
  path: string,
  environment: ProviderEnvironment,
  confirm: (keyUri: string) => Promise<void>,
): Promise<KeyTest> {
  const { encrypted } = await deletable(path);
  if (!encrypted) return fail('DISK_PLAIN', { path, what: 'no key wraps it' });
  const { keyUri, keyId } = encrypted.token;
  if (!keyUri.startsWith('local:')) {
    fail('KMS_KEY_KIND', { keyUri, verb: 'disabled here', why: 'it is not one of the embedded KMS' });
  }
  const { uses } = await usageOf({ keyUri, keyId }, [environment.poolDir]);
  for (const { path: other, service } of uses) {
    const where = service && (service.device ?? service.address ?? 'in service');
    if (where) fail('DISK_ATTACHED', { path: other, where });
  }
  await open(encrypted, environment);
  await confirm(keyUri);
  const kms = LocalKms.open(join(environment.poolDir, 'kms'));
  return undisturbed(async () => {
    await kms.disableKey(keyUri);
    try {
      const refusal = await failureOf(() => open(encrypted, environment));
      if (refusal?.code === 'KMS_KEY_DISABLED') return { keyUri, refusal };
      if (refusal) throw refusal;
      return fail('DISK_NOT_ENCRYPTED', {
        path,
        verdict: 'open',
        why: `it opens while ${keyUri} is disabled`,
      });
    } finally {
      await kms.enableKey(keyUri);
    }
  });
}

/** Gets its data key, which proves it and the header, and lets it go. */
async function open(disk: DiskDescription, environment: ProviderEnvironment): Promise<void> {
  const provider = await openProvider(disk.token.keyUri, environment);
  try {
    (await unwrapDataKey(disk.header, provider, { timeoutMs: KMS_TIMEOUT_MS })).wipe();
  } finally {
    await provider.close();
  }
}

/** Signals that would end the process wait until the work is over, which takes no longer than a few calls of the KMS. */
async function undisturbed<T>(work: () => Promise<T>): Promise<T> {
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  let came: NodeJS.Signals | undefined;
  const keep = (signal: NodeJS.Signals) => {
    came = signal;
  };
  for (const signal of signals) process.on(signal, keep);
  try {
    return await work();
  } finally {
    for (const signal of signals) process.off(signal, keep);
    if (came) process.kill(process.pid, came);
  }
}
