/**
 * The embedded KMS: customer master keys in a folder, used by any number of processes at once.
 *
 * Every call reads the folder anew, so a decision of one process binds the next call of every other. Changes are made
 * under the folder's lock and are durable, with their audit line, before they are answered. The service key
 * (`alias/acs/ecs`) comes into being when it is first named. What a key may be is said by lifecycle.ts and cmk.ts, what
 * is done with its material by data-key.ts and import.ts; here is who calls what.
 * Failures: the KMS_* codes of src/errors.ts. Keys are named by alias, key id, or either with `local:` before it.
 */

import { fail } from '../../errors.js';
import type { EncryptionContext, KeyDescription, SecretBytes } from '../provider.js';
import { type AliasEntry, aliasesOf, checkNewAlias, find, findWritten, point } from './alias.js';
import { Calls, type Draft, ignore, type LocalCallOptions, type What, whatOf } from './calls.js';
import {
  apply,
  type Edit,
  edited,
  type NewKey,
  newRecord,
  PLAIN_KEY,
  rotated,
  rotating,
  usable,
} from './cmk.js';
import {
  discard,
  encryptUnder,
  generateUnder,
  type LocalDataKey,
  openUnder,
  type WrappedUnder,
} from './data-key.js';
import { PLAINTEXT_MAX_BYTES, peekEnvelope } from './envelope.js';
import { checkFree, findToChange } from './gone.js';
import {
  type Import,
  type ImportChoice,
  type ImportParameters,
  importParameters,
  withImported,
  withoutMaterial,
} from './import.js';
import { infoOf, type KeyInfo } from './info.js';
import { DELETION_WINDOW_DAYS, recordAt, rotationDue, type Verb } from './lifecycle.js';
import { KeyLook } from './look.js';
import * as names from './names.js';
import { type Page, type PageOptions, pageOf } from './page.js';
import type { KeyRecord } from './record.js';
import { parseLocal } from './ref.js';
import { freeSecret } from './secret.js';
import type { OpenStore } from './store.js';
import { goneKeys } from './sweep.js';

const DATA_KEY_MAX_BYTES = 1024;

export interface CreateKeyOptions extends Partial<NewKey> {
  readonly alias?: string;
}

export type { KeyInfo, LocalCallOptions, LocalDataKey };

export class LocalKms {
  readonly #calls: Calls;
  readonly #looks = new Map<string, KeyLook<KeyRecord>>();

  private constructor(dir: string) {
    this.#calls = new Calls(dir);
  }

  /** The KMS in `dir`, which need not exist yet: the first key makes it. */
  static open(dir: string): LocalKms {
    return new LocalKms(dir);
  }

  async createKey(options: CreateKeyOptions = {}, call?: LocalCallOptions): Promise<KeyInfo> {
    const { alias, ...facts } = options;
    if (alias !== undefined) checkNewAlias(alias);
    const what = { operation: 'CreateKey', keyUri: `local:${alias ?? ''}`, call };
    return this.#calls.changing(what, true, async (store, audit) => {
      const record = await newRecord({ ...PLAIN_KEY, ...facts }, false, store.root);
      audit.key = record.keyId;
      if (alias === undefined) await store.writeRecord(record);
      else await checkFree(store, alias).then(() => point(store, alias, record));
      return infoOf(record, alias === undefined ? [] : [alias]);
    });
  }

  /** Keys in the order of their ids; none where there is no KMS yet. */
  async listKeys(page: PageOptions = {}, call?: LocalCallOptions): Promise<Page<'keys', KeyInfo>> {
    if (!(await this.#calls.store.exists())) return { keys: [], total: 0 };
    return this.#calls.reading('local:', call, async (store) => {
      const gone = new Set((await goneKeys(store)).map(({ keyId }) => keyId));
      const ids = (await store.keyIds()).filter((keyId) => !gone.has(keyId));
      const { names, ...rest } = pageOf(ids, page);
      const keys = await Promise.all(names.map((keyId) => infoIfThere(store, keyId)));
      return { keys: keys.filter((key) => key !== undefined), ...rest };
    });
  }

  /** State and facts of a key. A disabled or pending key is no failure here. */
  async describeKey(ref: string, call?: LocalCallOptions): Promise<KeyInfo> {
    const { canonical } = parseLocal(ref);
    return this.#calls.reading(canonical, call, async (store) => infoIn(store, await find(store, canonical)));
  }

  /** State of the key `keyId`; asked again and again it costs little. */
  async stateOf(keyId: string, call?: LocalCallOptions): Promise<KeyDescription> {
    const { canonical, ref } = parseLocal(keyId);
    if (ref.kind !== 'keyId') return this.describeKey(canonical, call);
    const { store, dir } = this.#calls;
    const look = this.#looks.get(canonical) ?? new KeyLook<KeyRecord>(dir, ref.keyId);
    this.#looks.set(canonical, look);
    return this.#calls.bound(canonical, call, ignore, async () => {
      const written = await look.at(() => store.read(canonical, (open) => findWritten(open, canonical)));
      const record = recordAt(written, Date.now()) ?? fail('KMS_KEY_NOT_FOUND', { keyUri: canonical });
      return { keyId: ref.keyId, state: record.state, serviceKey: record.serviceKey };
    });
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

  /** After the window, 7 to 366 days, the key and its material are gone. */
  scheduleDeletion(
    ref: string,
    windowDays: number = DELETION_WINDOW_DAYS.default,
    call?: LocalCallOptions,
  ): Promise<KeyInfo> {
    return this.#applying('ScheduleKeyDeletion', ref, { kind: 'scheduleDeletion', windowDays }, call);
  }

  cancelDeletion(
    ref: string,
    to: 'enabled' | 'disabled' = 'disabled',
    call?: LocalCallOptions,
  ): Promise<KeyInfo> {
    return this.#applying('CancelKeyDeletion', ref, { kind: 'cancelDeletion', to }, call);
  }

  setDescription(ref: string, description: string, call?: LocalCallOptions): Promise<KeyInfo> {
    return this.#editing('UpdateKeyDescription', ref, () => ({ description }), call);
  }

  /** A protected key cannot be scheduled for deletion. */
  setDeletionProtection(ref: string, deletionProtection: boolean, call?: LocalCallOptions): Promise<KeyInfo> {
    return this.#editing('SetDeletionProtection', ref, () => ({ deletionProtection }), call);
  }

  /** Adds the tags, in the place of those of the same name. */
  tagKey(ref: string, tags: Readonly<Record<string, string>>, call?: LocalCallOptions): Promise<KeyInfo> {
    return this.#editing('TagResource', ref, (record) => ({ tags: { ...record.tags, ...tags } }), call);
  }

  untagKey(ref: string, names: readonly string[], call?: LocalCallOptions): Promise<KeyInfo> {
    const left = ({ tags }: KeyRecord) => Object.entries(tags).filter(([name]) => !names.includes(name));
    return this.#editing(
      'UntagResource',
      ref,
      (record) => ({ tags: Object.fromEntries(left(record)) }),
      call,
    );
  }

  /** New material for what is wrapped from now on; what the older versions wrapped still opens. */
  rotateKey(ref: string, call?: LocalCallOptions): Promise<KeyInfo> {
    return this.#changing('RotateKey', ref, call, (record, store) => rotated(record, Date.now(), store.root));
  }

  /** Rotates by itself from now on, at the first use after each period; null ends that. */
  setRotation(ref: string, periodDays: number | null, call?: LocalCallOptions): Promise<KeyInfo> {
    return this.#changing('UpdateRotationPolicy', ref, call, async (record) =>
      rotating(record, periodDays, Date.now()),
    );
  }

  createAlias(alias: string, ref: string, call?: LocalCallOptions): Promise<void> {
    return names.createAlias(this.#calls, alias, ref, call);
  }

  /** The alias names another key from now on. */
  updateAlias(alias: string, ref: string, call?: LocalCallOptions): Promise<void> {
    return names.updateAlias(this.#calls, alias, ref, call);
  }

  deleteAlias(alias: string, call?: LocalCallOptions): Promise<void> {
    return names.deleteAlias(this.#calls, alias, call);
  }

  /** All aliases, in no order that says anything, or those of one key. */
  listAliases(
    page: PageOptions & { readonly ref?: string } = {},
    call?: LocalCallOptions,
  ): Promise<Page<'aliases', AliasEntry>> {
    return names.listAliases(this.#calls, page, call);
  }

  /** `sizeBytes` (1 to 1024) random bytes, wrapped under the key's primary version and bound to `context`. */
  async generateDataKey(
    ref: string,
    sizeBytes: number,
    context: EncryptionContext,
    call?: LocalCallOptions,
  ): Promise<LocalDataKey> {
    if (!Number.isInteger(sizeBytes) || sizeBytes < 1 || sizeBytes > DATA_KEY_MAX_BYTES) {
      fail('INTERNAL', { what: `data key of ${sizeBytes} bytes, expected 1 to ${DATA_KEY_MAX_BYTES}` });
    }
    const what = whatOf('GenerateDataKey', ref, call);
    return this.#calls.using(what, context, discard, async (store, audit) => {
      const record = await this.#findToWrap(store, what, audit);
      return generateUnder(store, record, sizeBytes, context, what.keyUri);
    });
  }

  /** `plaintext` (1 to 6144 bytes) under the key's primary version, bound to `context`. */
  async encrypt(
    ref: string,
    plaintext: SecretBytes,
    context: EncryptionContext,
    call?: LocalCallOptions,
  ): Promise<WrappedUnder> {
    if (plaintext.length < 1 || plaintext.length > PLAINTEXT_MAX_BYTES) {
      fail('USAGE', { what: `a plaintext has 1 to ${PLAINTEXT_MAX_BYTES} bytes, not ${plaintext.length}` });
    }
    const what = whatOf('Encrypt', ref, call);
    return this.#calls.using(what, context, ignore, async (store, audit) =>
      encryptUnder(store, await this.#findToWrap(store, what, audit), plaintext, context, what.keyUri),
    );
  }

  /** The plaintext of a ciphertext of generateDataKey or encrypt, whichever key and version wrapped it. */
  async decrypt(
    ciphertext: Uint8Array,
    context: EncryptionContext,
    call?: LocalCallOptions,
  ): Promise<LocalDataKey> {
    const blob = Buffer.from(ciphertext);
    const what = { operation: 'Decrypt', keyUri: wrapperOf(blob), call };
    return this.#calls.using(what, context, discard, async (store, audit) => {
      const record = await find(store, what.keyUri);
      audit.key = record.keyId;
      return openUnder(store, usable(record, what.keyUri), blob, context, what.keyUri);
    });
  }

  /** A ciphertext of the same plaintext under the primary version of `ref`, bound to `to`. No plaintext leaves. */
  async reEncrypt(
    ciphertext: Uint8Array,
    context: EncryptionContext,
    ref: string,
    to: EncryptionContext,
    call?: LocalCallOptions,
  ): Promise<WrappedUnder & { readonly sourceKeyId: string; readonly sourceKeyVersion: string }> {
    const blob = Buffer.from(ciphertext);
    const source = wrapperOf(blob);
    const what = whatOf('ReEncrypt', ref, call);
    return this.#calls.using(what, to, ignore, async (store, audit) => {
      audit.source = source.slice('local:'.length);
      const opened = openUnder(store, usable(await find(store, source), source), blob, context, source);
      try {
        const record = await this.#findToWrap(store, what, audit);
        const wrapped = encryptUnder(store, record, opened.plaintext, to, what.keyUri);
        return { ...wrapped, sourceKeyId: opened.keyId, sourceKeyVersion: opened.keyVersion };
      } finally {
        freeSecret(opened.plaintext);
      }
    });
  }

  /** What its owner wraps the key's material with. For a key whose origin is external. */
  async importParameters(
    ref: string,
    choice: ImportChoice,
    call?: LocalCallOptions,
  ): Promise<ImportParameters> {
    const what = whatOf('GetParametersForImport', ref, call);
    return this.#calls.using(what, {}, ignore, async (store, audit) => {
      const record = await find(store, what.keyUri);
      audit.key = record.keyId;
      return importParameters(record, choice, Date.now(), store.root);
    });
  }

  importMaterial(ref: string, given: Import, call?: LocalCallOptions): Promise<KeyInfo> {
    return this.#changing('ImportKeyMaterial', ref, call, async (record, store) =>
      withImported(record, given, Date.now(), store.root),
    );
  }

  deleteMaterial(ref: string, call?: LocalCallOptions): Promise<KeyInfo> {
    return this.#changing('DeleteKeyMaterial', ref, call, async (record) =>
      withoutMaterial(record, Date.now()),
    );
  }

  #applying(
    operation: string,
    ref: string,
    verb: Verb,
    call: LocalCallOptions | undefined,
  ): Promise<KeyInfo> {
    return this.#changing(operation, ref, call, async (record) => apply(record, verb, Date.now()));
  }

  #editing(
    operation: string,
    ref: string,
    edit: (record: KeyRecord) => Edit,
    call: LocalCallOptions | undefined,
  ): Promise<KeyInfo> {
    return this.#changing(operation, ref, call, async (record) => edited(record, edit(record), Date.now()));
  }

  /** Writes what `change` makes of the key's record, when that is another one. */
  #changing(
    operation: string,
    ref: string,
    call: LocalCallOptions | undefined,
    change: (record: KeyRecord, store: OpenStore) => Promise<KeyRecord>,
  ): Promise<KeyInfo> {
    const what = whatOf(operation, ref, call);
    return this.#calls.changing(what, false, async (store, audit) => {
      const record = await findToChange(store, what.keyUri);
      audit.key = record.keyId;
      const next = await change(record, store);
      if (next !== record) await store.writeRecord(next, record);
      return infoIn(store, next);
    });
  }

  /** A key to wrap with; one whose rotation is due is rotated first. */
  async #findToWrap(store: OpenStore, { keyUri, call }: What, audit: Draft): Promise<KeyRecord> {
    const record = await find(store, keyUri);
    audit.key = record.keyId;
    if (!rotationDue(record, Date.now())) return usable(record, keyUri);
    await this.#changing('RotateKey', record.keyId, { ...call, caller: 'rotation' }, async (now, open) =>
      rotationDue(now, Date.now()) ? rotated(now, Date.now(), open.root) : now,
    );
    return usable(await find(store, keyUri), keyUri);
  }
}

/** The key that wrapped `blob`, by its own word. */
function wrapperOf(blob: Buffer): string {
  const envelope = peekEnvelope(blob);
  return envelope ? `local:${envelope.keyId}` : fail('KMS_INVALID_CIPHERTEXT', { keyUri: 'local:' });
}

const infoIn = async (store: OpenStore, record: KeyRecord): Promise<KeyInfo> =>
  infoOf(record, await aliasesOf(store, record));

async function infoIfThere(store: OpenStore, keyId: string): Promise<KeyInfo | undefined> {
  const written = await store.readRecord(keyId);
  const record = written && recordAt(written, Date.now());
  return record && infoIn(store, record);
}
