/**
 * The folder of the embedded KMS: where records and aliases are, and how they are read and written.
 *
 *   root.key   seals everything below      keys/<key id>       one record per CMK
 *   lock, audit.log                        aliases/<hash>      one alias (alias.ts)
 *
 * Made in this order: folder, keys/, aliases/, root.key; so a store with a root key is whole, and a root key is never made
 * beside records that another one sealed.
 * Nothing is cached: what one process changes, the next read of another sees.
 * Failures: KMS_CONNECTION when the store is not there (a folder not mounted: nobody decided), KMS_STORE when it
 * cannot be used, KMS_STORE_ALTERED when a record does not open.
 */

import { mkdir, readdir, readFile, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf, fail, isFailure, SealdiskError } from '../../errors.js';
import type { SecretBytes } from '../provider.js';
import type { Deadline } from './deadline.js';
import { isAside, sweep, syncFolder, writeDurably } from './durable.js';
import { withLock } from './lock.js';
import { decodeRecord, decodeSealed, encodeRecord, encodeSealed, type KeyRecord } from './record.js';
import { isKeyId } from './ref.js';
import { loadRootKey, makeRootKey } from './root-key.js';
import { freeSecret } from './secret.js';

/** Of what is sealed. */
const FOLDERS = ['keys', 'aliases', 'access'];
const GONE = new Set(['ENOENT', 'ENOTDIR', 'ESTALE', 'ENOTCONN', 'ENODEV', 'ENXIO']);

/** A store opened for one operation: it holds the root key. */
export class OpenStore {
  constructor(
    readonly dir: string,
    readonly root: SecretBytes,
  ) {}

  recordPath(keyId: string): string {
    return join(this.dir, 'keys', keyId);
  }

  /** The record of `keyId`, or undefined when the store is there and has none. */
  async readRecord(keyId: string): Promise<KeyRecord | undefined> {
    const path = this.recordPath(keyId);
    try {
      return decodeRecord(await readFile(path), keyId, this.root, path);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      await stat(join(this.dir, 'keys')); // a store that lost its keys is gone, and its keys are not deleted
      return undefined;
    }
  }

  /** Writes the next generation of the record. The caller holds the lock. */
  async writeRecord(record: KeyRecord): Promise<void> {
    const next = { ...record, generation: record.generation + 1 };
    await writeDurably(this.recordPath(record.keyId), encodeRecord(next, this.root));
  }

  /** Removes the record, and with it all material of the key. The caller holds the lock. */
  async removeRecord(keyId: string): Promise<void> {
    await this.removeSealed(`keys/${keyId}`);
  }

  /** The ids of all keys, in order. */
  async keyIds(): Promise<string[]> {
    return (await readdir(join(this.dir, 'keys'))).filter(isKeyId).sort();
  }

  /** The names of the files in `folder`, in order. */
  async namesIn(folder: string): Promise<string[]> {
    return (await readdir(join(this.dir, folder))).filter((name) => !isAside(name)).sort();
  }

  /** What the sealed file `name` (a path in the folder) holds; undefined when the store is there and has none. */
  async readSealed(name: string): Promise<Buffer | undefined> {
    const path = join(this.dir, name);
    try {
      return decodeSealed(await readFile(path), name, this.root, path);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      await stat(dirname(path));
      return undefined;
    }
  }

  /** The caller holds the lock; the folder of `name` is there. */
  async writeSealed(name: string, plain: Buffer): Promise<void> {
    await writeDurably(join(this.dir, name), encodeSealed(plain, name, this.root));
  }

  /** False when there was none. The caller holds the lock. */
  async removeSealed(name: string): Promise<boolean> {
    const path = join(this.dir, name);
    try {
      await unlink(path);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      return false;
    }
    await syncFolder(dirname(path));
    return true;
  }
}

export class Store {
  constructor(readonly dir: string) {}

  /** False where nobody has made a KMS yet. */
  async exists(): Promise<boolean> {
    return this.#catalogued('local:', () => exists(this.dir));
  }

  /** Runs `use` on the store as it is. */
  async read<T>(keyUri: string, use: (store: OpenStore) => Promise<T>): Promise<T> {
    return this.#catalogued(keyUri, () => this.#withRoot(use));
  }

  /** Runs `change` under the lock, on a store that is there; with `make` it is made first where there is none. */
  async change<T>(
    keyUri: string,
    deadline: Deadline,
    make: boolean,
    change: (store: OpenStore) => Promise<T>,
  ): Promise<T> {
    return this.#catalogued(keyUri, async () => {
      if (make) await this.#makeFolders();
      await this.#checkMode();
      return withLock(this.dir, deadline, async () => {
        for (const folder of ['', ...FOLDERS]) await sweep(join(this.dir, folder));
        if (make) await this.#makeRoot();
        return this.#withRoot(change);
      });
    });
  }

  async #withRoot<T>(use: (store: OpenStore) => Promise<T>): Promise<T> {
    await this.#checkMode();
    const root = await loadRootKey(this.dir);
    try {
      return await use(new OpenStore(this.dir, root));
    } finally {
      freeSecret(root);
    }
  }

  async #makeFolders(): Promise<void> {
    for (const folder of FOLDERS) await mkdir(join(this.dir, folder), { recursive: true, mode: 0o700 });
  }

  async #makeRoot(): Promise<void> {
    if (await exists(join(this.dir, 'root.key'))) return;
    if ((await readdir(join(this.dir, 'keys'))).some(isKeyId)) {
      fail('KMS_STORE', { path: this.dir, why: 'root.key is missing, and keys are there that it sealed' });
    }
    await syncFolder(join(this.dir, '..')); // whoever made the folders: they are there before what they hold
    await syncFolder(this.dir);
    await makeRootKey(this.dir);
  }

  async #checkMode(): Promise<void> {
    const { mode } = await stat(this.dir);
    if (mode & 0o077) {
      fail('KMS_STORE', { path: this.dir, why: `its mode is ${(mode & 0o777).toString(8)}, expected 700` });
    }
  }

  async #catalogued<T>(keyUri: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw catalogued(error, keyUri, this.dir);
    }
  }
}

/** The catalogue's name for what a file operation of the store threw. */
export function catalogued(error: unknown, keyUri: string, dir: string): SealdiskError {
  if (isFailure(error)) return error;
  const { code, path } = error as NodeJS.ErrnoException;
  if (code === undefined) return new SealdiskError('INTERNAL', { what: errnoOf(error) }, error);
  if (GONE.has(code)) {
    return new SealdiskError('KMS_CONNECTION', { keyUri, why: `${path ?? dir}: ${code}` }, error);
  }
  return new SealdiskError('KMS_STORE', { path: path ?? dir, why: code }, error);
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}
