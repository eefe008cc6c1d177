/**
 * The deadline of one call.
 *
 * A call ends at its deadline whatever the file system does; a result that comes later is disposed of, because it may
 * hold a key that nobody is left to wipe.
 */

import { fail, SealdiskError } from '../../errors.js';

export class Deadline {
  readonly #endMs: number;

  constructor(
    readonly timeoutMs: number,
    readonly keyUri: string,
  ) {
    this.#endMs = performance.now() + timeoutMs;
  }

  get remainingMs(): number {
    return Math.max(0, this.#endMs - performance.now());
  }

  /** Fails with KMS_TIMEOUT once the time is over: asked before each step that changes something. */
  check(): void {
    if (this.remainingMs === 0) fail('KMS_TIMEOUT', { keyUri: this.keyUri, timeoutMs: this.timeoutMs });
  }

  /** The result of `work`, or KMS_TIMEOUT at the deadline. `dispose` gets a result that came too late. */
  async bound<T>(work: () => Promise<T>, dispose: (late: T) => void): Promise<T> {
    this.check();
    let timer: NodeJS.Timeout | undefined;
    let over = false;
    const timeout = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        over = true;
        reject(new SealdiskError('KMS_TIMEOUT', { keyUri: this.keyUri, timeoutMs: this.timeoutMs }));
      }, this.remainingMs);
    });
    const result = work();
    result.then(
      (late) => over && dispose(late),
      () => undefined,
    );
    try {
      return await Promise.race([result, timeout]);
    } finally {
      clearTimeout(timer);
    }
  }
}
