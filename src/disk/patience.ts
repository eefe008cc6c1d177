/** Waiting at the start for a KMS that does not answer: nobody decided, so it is asked again, but not for ever. */

import { setTimeout as delay } from 'node:timers/promises';
import { isFailure } from '../errors.js';
import type { Log } from '../log.js';

/** No question to a KMS is waited for longer than this. */
export const KMS_TIMEOUT_MS = 10_000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2_000;

/** What `work` gives. While the KMS cannot be reached it is tried again, for `waitMs`; any other failure is final. */
export async function patiently<T>(waitMs: number, log: Log, work: () => Promise<T>): Promise<T> {
  const endsMs = performance.now() + waitMs;
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
    try {
      return await work();
    } catch (error) {
      const silent = isFailure(error) && error.group === 'unreachable';
      if (!silent || performance.now() >= endsMs) throw error;
      log.warn({ event: 'kms_unreachable', code: error.code }, error.message);
    }
    await delay(pauseMs);
  }
}
