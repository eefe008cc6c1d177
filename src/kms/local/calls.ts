/**
 * How a call of the embedded KMS runs: within its deadline, on the store, under the lock where it changes something, and
 * with its line in the audit log before it is answered.
 */

import { isFailure, type SealdiskError } from '../../errors.js';
import type { EncryptionContext } from '../provider.js';
import { type AuditEntry, appendAudit } from './audit.js';
import { Deadline } from './deadline.js';
import { parseLocal } from './ref.js';
import { makeServiceKey } from './service-key.js';
import { catalogued, type OpenStore, Store } from './store.js';
import { sweepSome } from './sweep.js';

const DEFAULT_TIMEOUT_MS = 30_000;

export interface LocalCallOptions {
  readonly timeoutMs?: number;
  /** Who asks, as the audit log shows it. */
  readonly caller?: string;
}

/** The audit line of a call that is under way: `key` becomes the key's id once it is found. */
export type Draft = { -readonly [K in keyof AuditEntry]: AuditEntry[K] };

/** What is called: the operation's name, and the canonical URI of the key it is about. */
export interface What {
  readonly operation: string;
  readonly keyUri: string;
  readonly call: LocalCallOptions | undefined;
}

export const whatOf = (operation: string, ref: string, call: LocalCallOptions | undefined): What => ({
  operation,
  keyUri: parseLocal(ref).canonical,
  call,
});

export class Calls {
  readonly store: Store;

  constructor(readonly dir: string) {
    this.store = new Store(dir);
  }

  /** Looks at the store. Not audited. */
  reading<T>(
    keyUri: string,
    call: LocalCallOptions | undefined,
    read: (store: OpenStore) => Promise<T>,
  ): Promise<T> {
    return this.bound(keyUri, call, ignore, async (deadline) => {
      await makeServiceKey(this.store, keyUri, deadline);
      return this.store.read(keyUri, read);
    });
  }

  /** A change: under the lock, audited durably, after what is over by the clock was swept away. With `make` the store is made where there is none. */
  changing<T>(
    { operation, keyUri, call }: What,
    make: boolean,
    change: (store: OpenStore, audit: Draft) => Promise<T>,
  ): Promise<T> {
    return this.bound(keyUri, call, ignore, async (deadline) => {
      await makeServiceKey(this.store, keyUri, deadline);
      return this.#audited(draft(operation, keyUri, call), true, ignore, (audit) =>
        this.store.change(keyUri, deadline, make, async (store) => {
          await sweepSome(store);
          return change(store, audit);
        }),
      );
    });
  }

  /** A use of key material: without the lock, audited. `dispose` frees a result that nobody gets. */
  using<T>(
    { operation, keyUri, call }: What,
    context: EncryptionContext,
    dispose: (unseen: T) => void,
    use: (store: OpenStore, audit: Draft) => Promise<T>,
  ): Promise<T> {
    return this.bound(keyUri, call, dispose, async (deadline) => {
      await makeServiceKey(this.store, keyUri, deadline);
      return this.#audited({ ...draft(operation, keyUri, call), context }, false, dispose, (audit) =>
        this.store.read(keyUri, (store) => use(store, audit)),
      );
    });
  }

  bound<T>(
    keyUri: string,
    call: LocalCallOptions | undefined,
    dispose: (late: T) => void,
    work: (deadline: Deadline) => Promise<T>,
  ): Promise<T> {
    const deadline = new Deadline(call?.timeoutMs ?? DEFAULT_TIMEOUT_MS, keyUri);
    return deadline.bound(() => work(deadline), dispose);
  }

  async #audited<T>(
    audit: Draft,
    durable: boolean,
    dispose: (unseen: T) => void,
    work: (audit: Draft) => Promise<T>,
  ): Promise<T> {
    let result: T;
    try {
      result = await work(audit);
    } catch (error) {
      await this.#auditFailure(audit, error as SealdiskError);
      throw error;
    }
    try {
      await appendAudit(this.dir, audit, durable);
      return result;
    } catch (error) {
      dispose(result);
      throw catalogued(error, audit.key, this.dir);
    }
  }

  /** What failed stays the answer, whether or not its line could be written; no line where there is no store. */
  async #auditFailure(audit: Draft, failure: SealdiskError): Promise<void> {
    if (isFailure(failure, 'KMS_CONNECTION')) return;
    await appendAudit(this.dir, { ...audit, outcome: failure.code }, false).catch(() => undefined);
  }
}

export const ignore = (): void => undefined;

const draft = (operation: string, keyUri: string, call: LocalCallOptions | undefined): Draft => ({
  operation,
  key: keyUri,
  outcome: 'ok',
  ...(call?.caller === undefined ? {} : { who: call.caller }),
});
