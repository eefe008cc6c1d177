/**
 * Access keys: who may call the network face, and for what. Each is one sealed file, `access/<access key id>`.
 *
 * Kept true: a change binds the next call of every process. What was opened is kept only while its file is the same one
 * (a file is replaced, never written in place, so another one has another inode, size or time), and its secret lies in
 * secure memory, until nobody refers to it any more. A rule can only allow; without rules everything is allowed.
 */

import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, fail } from '../../errors.js';
import type { SecretBytes } from '../provider.js';
import { jsonWithSecret, takeSecret } from '../secret-json.js';
import { appendAudit } from './audit.js';
import { Deadline } from './deadline.js';
import { marksOf, NO_FILE, Shared } from './files.js';
import { parseLocal } from './ref.js';
import { catalogued, type OpenStore, Store } from './store.js';

/** Allows `action` on one key, or, where `key` is null, everything that `action` names. */
export interface Rule {
  /** An operation's name, `*` standing for any letters. */
  readonly action: string;
  /** A key id or an alias. */
  readonly key: string | null;
}

/** What may be shown of an access key. */
export interface AccessKeyInfo {
  readonly accessKeyId: string;
  readonly name: string;
  readonly allow: readonly Rule[];
  readonly createdAt: string;
  readonly expiresAt: string | null;
}

/** An access key, opened. */
export interface AccessKey extends AccessKeyInfo {
  readonly secret: SecretBytes;
  /** What a temporary one has to show beside its signature; null for one without an end. */
  readonly securityToken: string | null;
}

interface Opened {
  readonly key: AccessKey;
  /** Tell its file from another one. */
  readonly marks: string;
  /** Looks at the file, once for all that ask at the same time. */
  readonly look: Shared<string>;
}

export interface NewAccessKey {
  readonly info: AccessKeyInfo;
  readonly accessKeySecret: string;
  readonly securityToken: string | null;
}

/** What a file holds, beside the secret. */
interface Stored extends AccessKeyInfo {
  readonly format: 1;
  readonly securityToken: string | null;
}

const FOLDER = 'access';
const ID = /^SD(AK|ST)[A-Z2-7]{20}$/;
const ACTION = /^[A-Za-z*]{1,64}$/;
const TIMEOUT_MS = 30_000;
/** Each holds a few pages of locked memory. */
const OPENED_MAX = 256;
const NAME_MAX_CHARS = 128;
const SECRET_MAX_BYTES = 128;
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

const nameOf = (accessKeyId: string): string => `${FOLDER}/${accessKeyId}`;

/** `ACTION[:KEY]`, as `Decrypt`, `kms:*` or `Decrypt:alias/x`. Fails with USAGE. */
export function parseRule(text: string): Rule {
  const bare = text.replace(/^kms:/, '');
  const at = bare.indexOf(':');
  const action = at < 0 ? bare : bare.slice(0, at);
  const named = at < 0 ? '*' : bare.slice(at + 1);
  if (!ACTION.test(action)) {
    fail('USAGE', { what: `"${text}" is not ACTION[:KEY]: an action is an operation's name, * allowed` });
  }
  if (named === '*') return { action, key: null };
  const { ref } = parseLocal(named);
  return { action, key: ref.kind === 'alias' ? ref.alias : ref.keyId };
}

/** Whether `rules` allow `operation` on the key, or, without one, apart from any key. */
export function allows(
  rules: readonly Rule[],
  operation: string,
  key?: { readonly keyId: string; readonly aliases: readonly string[] },
): boolean {
  if (rules.length === 0) return true;
  const named = (rule: Rule): boolean =>
    rule.key === null || (key !== undefined && (rule.key === key.keyId || key.aliases.includes(rule.key)));
  return rules.some((rule) => matches(rule.action, operation) && named(rule));
}

function matches(action: string, operation: string): boolean {
  if (action === operation || action === '*') return true;
  return action.includes('*') && new RegExp(`^${action.replaceAll('*', '[A-Za-z]*')}$`).test(operation);
}

export class AccessKeys {
  readonly #store: Store;
  /** In the order of their last use, the least recent first. */
  readonly #opened = new Map<string, Opened>();

  constructor(private readonly dir: string) {
    this.#store = new Store(dir);
  }

  /** Makes one; `expiresAt` makes it temporary. The secret is shown this once. */
  async create(wanted: {
    name?: string;
    allow?: readonly Rule[];
    expiresAt?: string | null;
  }): Promise<NewAccessKey> {
    const { name = '', allow = [], expiresAt = null } = wanted;
    if (name.length > NAME_MAX_CHARS || /\p{Cc}/u.test(name)) {
      fail('USAGE', { what: `a name is one line of at most ${NAME_MAX_CHARS} characters` });
    }
    const accessKeyId = `${expiresAt === null ? 'SDAK' : 'SDST'}${randomLetters(20)}`;
    const secret = randomBytes(24).toString('hex');
    const securityToken = expiresAt === null ? null : randomBytes(48).toString('base64');
    const info = { accessKeyId, name, allow, createdAt: new Date().toISOString(), expiresAt };
    const stored: Stored = { format: 1, ...info, securityToken };
    await this.#change(true, async (store) => {
      const json = jsonWithSecret({ ...stored }, 'secret', Buffer.from(secret));
      await store.writeSealed(nameOf(accessKeyId), json).finally(() => json.fill(0));
      await this.#audit('CreateAccessKey', accessKeyId);
    });
    return { info, accessKeySecret: secret, securityToken };
  }

  /** All, those that have ended too, in the order of their ids. */
  async list(): Promise<AccessKeyInfo[]> {
    if (!(await this.#store.exists())) return [];
    return this.#store.read('local:', async (store) => {
      const names = await readdir(join(this.dir, FOLDER)).catch((error) => {
        if (errnoOf(error) === 'ENOENT') return [];
        throw error;
      });
      const all = await Promise.all(
        names
          .filter((name) => ID.test(name))
          .sort()
          .map((name) => this.#read(store, name)),
      );
      return all.filter((each) => each !== undefined).map(infoOf);
    });
  }

  /** Takes it away: its next call is refused. Fails with ACCESS_KEY_NOT_FOUND. */
  async delete(accessKeyId: string): Promise<void> {
    if (!ID.test(accessKeyId)) fail('ACCESS_KEY_NOT_FOUND', { accessKeyId });
    await this.#change(false, async (store) => {
      if (!(await store.removeSealed(nameOf(accessKeyId)))) fail('ACCESS_KEY_NOT_FOUND', { accessKeyId });
      await this.#audit('DeleteAccessKey', accessKeyId);
    });
  }

  /** The access key of that id, whether or not its time is over; undefined when there is none. */
  async find(accessKeyId: string): Promise<AccessKey | undefined> {
    if (!ID.test(accessKeyId)) return undefined;
    const opened = this.#opened.get(accessKeyId);
    const look = opened?.look ?? new Shared(() => this.#marks(accessKeyId));
    const marks = await look.ask();
    if (opened?.marks === marks) {
      this.#opened.delete(accessKeyId);
      this.#opened.set(accessKeyId, opened);
      return opened.key;
    }
    this.#opened.delete(accessKeyId);
    if (marks === NO_FILE) return undefined;
    const key = await this.#store.read('local:', (store) => this.#read(store, accessKeyId));
    if (key === undefined) return undefined;
    this.#opened.set(accessKeyId, { marks, key, look });
    const [oldest] = this.#opened.keys();
    if (this.#opened.size > OPENED_MAX && oldest !== undefined) this.#opened.delete(oldest);
    return key;
  }

  async #read(store: OpenStore, accessKeyId: string): Promise<AccessKey | undefined> {
    const name = nameOf(accessKeyId);
    const json = await store.readSealed(name);
    if (json === undefined) return undefined;
    const secret = takeSecret(json, 'secret', SECRET_MAX_BYTES);
    const stored = JSON.parse(json.toString()) as Stored;
    if (stored.format !== 1 || stored.accessKeyId !== accessKeyId || secret === undefined) {
      fail('KMS_STORE', { path: join(this.dir, name), why: `its format is ${stored.format}, expected 1` });
    }
    return { ...stored, secret };
  }

  async #marks(accessKeyId: string): Promise<string> {
    try {
      return await marksOf(join(this.dir, nameOf(accessKeyId)));
    } catch (error) {
      throw catalogued(error, 'local:', this.dir);
    }
  }

  async #change(make: boolean, change: (store: OpenStore) => Promise<void>): Promise<void> {
    const deadline = new Deadline(TIMEOUT_MS, 'local:');
    await deadline.bound(
      () => this.#store.change('local:', deadline, make, change),
      () => undefined,
    );
  }

  async #audit(operation: string, accessKeyId: string): Promise<void> {
    await appendAudit(this.dir, { operation, key: accessKeyId, outcome: 'ok' }, true);
  }
}

const infoOf = ({ accessKeyId, name, allow, createdAt, expiresAt }: AccessKeyInfo): AccessKeyInfo => ({
  accessKeyId,
  name,
  allow,
  createdAt,
  expiresAt,
});

const randomLetters = (count: number): string =>
  Array.from(randomBytes(count), (byte) => ALPHABET[byte % ALPHABET.length]).join('');
