/**
 * The embedded KMS: customer master keys in a folder, used by any number of processes at once.
 *
 * Every call reads the folder anew, so a decision of one process binds the next call of every other. Changes are made
 * under the folder's lock and are durable, with their audit line, before they are answered. The service key
 * (`alias/acs/ecs`) comes into being when it is first named.
 * Failures: the KMS_* codes of src/errors.ts. Keys are named by alias, key id, or either with `local:` before it.
 */

import { fail, isFailure, type SealdiskError } from '../../errors.js';
import type { EncryptionContext, KeyDescription } from '../provider.js';
import { aliasesOf, checkFree, checkNewAlias, find, point } from './alias.js';
import { type AuditEntry, appendAudit } from './audit.js';
import { apply, newRecord, newServiceKey, usable } from './cmk.js';
import { generateUnder, type LocalDataKey, openUnder } from './data-key.js';
import { Deadline } from './deadline.js';
import { PLAINTEXT_MAX_BYTES, peekEnvelope } from './envelope.js';
import { infoOf, type KeyInfo } from './info.js';
import { DELETION_WINDOW_DAYS, type Verb } from './lifecycle.js';
import { KeyLook } from './look.js';
import { SYMMETRIC_SPEC } from './record.js';
import { parseLocal, SERVICE_ALIAS } from './ref.js';
import { freeSecret } from './secret.js';
import { catalogued, type OpenStore, Store } from './store.js';

const DEFAULT_TIMEOUT_MS = 30_000;

export interface LocalCallOptions {
  readonly timeoutMs?: number;
  /** Who asks, as the audit log shows it. */
  readonly caller?: string;
}

export interface CreateKeyOptions {
  readonly alias?: string;
  /** AES_256 when left out; every other spec is refused with KMS_UNSUPPORTED_KEY. */
  readonly spec?: string;
  readonly description?: string;
}

export type { KeyInfo, LocalDataKey };

type Draft = { -readonly [K in keyof AuditEntry]: AuditEntry[K] };

export class LocalKms {
  readonly #store: Store;
  readonly #looks = new Map<string, KeyLook<KeyDescription>>();

  private constructor(dir: string) {
    this.#store = new Store(dir);
  }

  /** The KMS in `dir`, which need not exist yet: the first key makes it. */
  static open(dir: string): LocalKms {
    return new LocalKms(dir);
  }

  async createKey(options: CreateKeyOptions = {}, call?: LocalCallOptions): Promise<KeyInfo> {
    const { alias, spec = SYMMETRIC_SPEC, description = '' } = options;
    const keyUri = `local:${alias ?? ''}`;
    if (alias !== undefined) checkNewAlias(alias);
    if (spec !== SYMMETRIC_SPEC) {
      fail('KMS_UNSUPPORTED_KEY', { keyUri, found: spec, expected: SYMMETRIC_SPEC });
    }
    return this.#changing('CreateKey', keyUri, true, call, async (store, audit) => {
      const record = newRecord({ spec, description, serviceKey: false }, store.root);
      audit.key = record.keyId;
      if (alias !== undefined) await checkFree(store, alias);
      await store.writeRecord(record);
      if (alias !== undefined) await point(store, alias, record.keyId);
      return infoOf(record, alias === undefined ? [] : [alias]);
    });
  }

  /** All keys; none where there is no KMS yet. */
  async listKeys(call?: LocalCallOptions): Promise<KeyInfo[]> {
    if (!(await this.#store.exists())) return [];
    const keyUri = 'local:';
    return this.#bound(keyUri, call, ignore, () =>
      this.#store.read(keyUri, async (store) => {
        const { aliases } = await store.readAliases();
        return (await store.readAll()).map((record) => infoOf(record, aliasesOf(aliases, record.keyId)));
      }),
    );
  }

  /** State and facts of a key. A disabled or pending key is no failure here. */
  async describeKey(ref: string, call?: LocalCallOptions): Promise<KeyInfo> {
    const { canonical } = parseLocal(ref);
    return this.#bound(canonical, call, ignore, async (deadline) => {
      await this.#ensureServiceKey(canonical, deadline);
      return this.#store.read(canonical, async (store) => {
        const record = await find(store, canonical);
        const { aliases } = await store.readAliases();
        return infoOf(record, aliasesOf(aliases, record.keyId));
      });
    });
  }

  /** State of the key `keyId`; asked again and again it costs little. */
  async stateOf(keyId: string, call?: LocalCallOptions): Promise<KeyDescription> {
    const { canonical, ref } = parseLocal(keyId);
    if (ref.kind !== 'keyId') return this.describeKey(canonical, call);
    const look = this.#looks.get(canonical) ?? new KeyLook<KeyDescription>(this.#store.dir, ref.keyId);
    this.#looks.set(canonical, look);
    const read = async (store: OpenStore): Promise<KeyDescription> => {
      const { state, serviceKey } = await find(store, canonical);
      return { keyId: ref.keyId, state, serviceKey };
    };
    return this.#bound(canonical, call, ignore, () => look.at(() => this.#store.read(canonical, read)));
  }

  /** The key id that `ref` names now. */
  async resolve(ref: string, call?: LocalCallOptions): Promise<string> {
    return (await this.describeKey(ref, call)).keyId;
  }

  enableKey(ref: string, call?: LocalCallOptions): Promise<KeyInfo> {
    return this.#applying('EnableKey', ref, { kind: 'enable' }, call);
  }

  disableKey(ref: string, call?: LocalCallOptions): Promise<KeyInfo> {
    return this.#applying('DisableKey', ref, { kind: 'disable' }, call);
  }

  scheduleDeletion(
    ref: string,
    windowDays: number = DELETION_WINDOW_DAYS.default,
    call?: LocalCallOptions,
  ): Promise<KeyInfo> {
    return this.#applying('ScheduleKeyDeletion', ref, { kind: 'scheduleDeletion', windowDays }, call);
  }

  cancelDeletion(ref: string, call?: LocalCallOptions): Promise<KeyInfo> {
    return this.#applying('CancelKeyDeletion', ref, { kind: 'cancelDeletion' }, call);
  }

  /** New material for what is wrapped from now on; what the older versions wrapped still opens. */
  rotateKey(ref: string, call?: LocalCallOptions): Promise<KeyInfo> {
    return this.#applying('RotateKey', ref, { kind: 'rotate' }, call);
  }

  async createAlias(alias: string, ref: string, call?: LocalCallOptions): Promise<void> {
    checkNewAlias(alias);
    const { canonical } = parseLocal(ref);
    await this.#changing('CreateAlias', canonical, false, call, async (store, audit) => {
      const record = await find(store, canonical);
      audit.key = record.keyId;
      if (record.state === 'pendingDeletion') {
        fail('KMS_STATE', { keyUri: canonical, state: record.state, verb: 'given an alias' });
      }
      await checkFree(store, alias);
      await point(store, alias, record.keyId);
    });
  }

  /** `sizeBytes` (1 to 1024) random bytes, wrapped under the key's primary version and bound to `context`. */
  async generateDataKey(
    ref: string,
    sizeBytes: number,
    context: EncryptionContext,
    call?: LocalCallOptions,
  ): Promise<LocalDataKey> {
    if (!Number.isInteger(sizeBytes) || sizeBytes < 1 || sizeBytes > PLAINTEXT_MAX_BYTES) {
      fail('INTERNAL', { what: `data key of ${sizeBytes} bytes, expected 1 to ${PLAINTEXT_MAX_BYTES}` });
    }
    const { canonical } = parseLocal(ref);
    return this.#using('GenerateDataKey', canonical, context, call, async (store, audit) => {
      const record = await find(store, canonical);
      audit.key = record.keyId;
      return generateUnder(store, usable(record, canonical), sizeBytes, context, canonical);
    });
  }

  /** The plaintext of a `ciphertext` of generateDataKey, whichever key and version wrapped it. */
  async decrypt(
    ciphertext: Uint8Array,
    context: EncryptionContext,
    call?: LocalCallOptions,
  ): Promise<LocalDataKey> {
    const blob = Buffer.from(ciphertext);
    const envelope = peekEnvelope(blob);
    const keyUri = `local:${envelope?.keyId ?? ''}`;
    if (!envelope) fail('KMS_INVALID_CIPHERTEXT', { keyUri });
    return this.#using('Decrypt', keyUri, context, call, async (store, audit) => {
      const record = await find(store, keyUri);
      audit.key = record.keyId;
      return openUnder(store, usable(record, keyUri), blob, context, keyUri);
    });
  }

  /** Makes the service key when `keyUri` is its alias and nobody has made it: two racing processes make one. */
  async #ensureServiceKey(keyUri: string, deadline: Deadline): Promise<void> {
    if (keyUri !== `local:${SERVICE_ALIAS}`) return;
    if (await this.#hasServiceKey(keyUri)) return;
    await this.#store.change(keyUri, deadline, true, async (store) => {
      if ((await store.readAliases()).aliases.has(SERVICE_ALIAS)) return;
      // One that a killed process made, but did not come to name.
      const orphan = (await store.readAll()).find((record) => record.serviceKey);
      const record = orphan ?? newServiceKey(store.root);
      if (!orphan) await store.writeRecord(record);
      await point(store, SERVICE_ALIAS, record.keyId);
      await appendAudit(store.dir, { operation: 'CreateServiceKey', key: record.keyId, outcome: 'ok' }, true);
    });
  }

  async #hasServiceKey(keyUri: string): Promise<boolean> {
    try {
      const { aliases } = await this.#store.read(keyUri, (store) => store.readAliases());
      return aliases.has(SERVICE_ALIAS);
    } catch (error) {
      if (isFailure(error, 'KMS_CONNECTION')) return false; // no store yet: making it decides what is wrong, if anything
      throw error;
    }
  }

  async #applying(
    operation: string,
    ref: string,
    verb: Verb,
    call: LocalCallOptions | undefined,
  ): Promise<KeyInfo> {
    const { canonical } = parseLocal(ref);
    return this.#changing(operation, canonical, false, call, async (store, audit) => {
      const record = await find(store, canonical);
      audit.key = record.keyId;
      const next = apply(record, verb, store.root);
      if (next !== record) await store.writeRecord(next);
      return infoOf(next, aliasesOf((await store.readAliases()).aliases, record.keyId));
    });
  }

  /** A change: under the lock, audited durably. */
  #changing<T>(
    operation: string,
    keyUri: string,
    make: boolean,
    call: LocalCallOptions | undefined,
    change: (store: OpenStore, audit: Draft) => Promise<T>,
  ): Promise<T> {
    return this.#bound(keyUri, call, ignore, async (deadline) => {
      await this.#ensureServiceKey(keyUri, deadline);
      const audit: Draft = { operation, key: keyUri, outcome: 'ok' };
      return this.#audited(audit, true, ignore, () =>
        this.#store.change(keyUri, deadline, make, (store) => change(store, audit)),
      );
    });
  }

  /** A use of key material: without the lock, audited. */
  #using(
    operation: string,
    keyUri: string,
    context: EncryptionContext,
    call: LocalCallOptions | undefined,
    use: (store: OpenStore, audit: Draft) => Promise<LocalDataKey>,
  ): Promise<LocalDataKey> {
    return this.#bound(keyUri, call, discard, async (deadline) => {
      await this.#ensureServiceKey(keyUri, deadline);
      const audit: Draft = { operation, key: keyUri, outcome: 'ok', context };
      return this.#audited(audit, false, discard, () =>
        this.#store.read(keyUri, (store) => use(store, audit)),
      );
    });
  }

  #bound<T>(
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
    work: () => Promise<T>,
  ): Promise<T> {
    const { dir } = this.#store;
    let result: T;
    try {
      result = await work();
    } catch (error) {
      await this.#auditFailure(audit, error as SealdiskError);
      throw error;
    }
    try {
      await appendAudit(dir, audit, durable);
      return result;
    } catch (error) {
      dispose(result);
      throw catalogued(error, audit.key, dir);
    }
  }

  /** What failed stays the answer, whether or not its line could be written; no line where there is no store. */
  async #auditFailure(audit: Draft, failure: SealdiskError): Promise<void> {
    if (failure.code === 'KMS_CONNECTION') return;
    await appendAudit(this.#store.dir, { ...audit, outcome: failure.code }, false).catch(() => undefined);
  }
}

const ignore = (): void => undefined;
const discard = (key: LocalDataKey): void => freeSecret(key.plaintext);
