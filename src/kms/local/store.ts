/**
 * The folder of the embedded KMS: where records and aliases are, and how they are read and written.
 *
 *   root.key   seals everything below      keys/<key id>       one record per CMK
 *   root.json  how the root is kept        aliases/<hash>      one alias (alias.ts)
 *   audit.log  who did what                access/             access keys of the network face
 *   audit.head where its end is            due/                when keys end (due.ts)
 *   lock, aside/                           of those who write
 *
 * Made in this order: folder, keys/, aliases/, root.key; so a store with a root key is whole, and a root key is never made
 * beside records that another one sealed.
 * Nothing is cached: what one process changes, the next read of another sees.
 * Failures: KMS_CONNECTION when the store is not there (a folder not mounted: nobody decided), KMS_STORE when it
 * cannot be used, KMS_STORE_ALTERED when a record does not open.
 */

import { link, mkdir, readdir, rename, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf, fail, isFailure, SealdiskError } from '../../errors.js';
import type { SecretBytes } from '../provider.js';
import { makeAuditHead } from './audit-head.js';
import type { Deadline } from './deadline.js';
import { note } from './due.js';
import { type DurableWrite, shred, sweep, syncFolder, writeAllDurably } from './durable.js';
import { readWhole, statOf } from './files.js';
import { hasMaterial } from './lifecycle.js';
import { withLock } from './lock.js';
import {
  decodeRecord,
  decodeSealed,
  encodeRecord,
  encodeSealed,
  type KeyRecord,
  resealRecord,
} from './record.js';
import { isKeyId } from './ref.js';
import { acquireRoot, type OpenRoot, type RootKeys, rootMarks } from './root/held.js';
import { makeRootKey, ROOT_FILES } from './root-key.js';

/** Of what is sealed. */
export const FOLDERS = ['keys', 'aliases', 'access'];
/** Where a file is until it is whole: nobody looks through a hundred thousand records for what a killed writer left. */
const ASIDE_FOLDER = 'aside';
/** How often a read is begun anew because the root changed under it. */
const READS_MAX = 5;
const GONE = new Set(['ENOENT', 'ENOTDIR', 'ESTALE', 'ENOTCONN', 'ENODEV', 'ENXIO']);

/** A store opened for one operation: it has the root keys. */
export class OpenStore {
  constructor(
    readonly dir: string,
    private readonly keys: RootKeys,
  ) {}

  /** The root key that seals. What is read here was sealed under it, or is sealed under it anew, but for its file. */
  get root(): SecretBytes {
    return this.keys.current;
  }

  recordPath(keyId: string): string {
    return join(this.dir, 'keys', keyId);
  }

  /** The record of `keyId`, or undefined when the store is there and has none. */
  async readRecord(keyId: string): Promise<KeyRecord | undefined> {
    const path = this.recordPath(keyId);
    try {
      return await this.#readRecordAt(path, keyId);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      await stat(join(this.dir, 'keys')); // a store that lost its keys is gone, and its keys are not deleted
      return undefined;
    }
  }

  /** A record that goes is overwritten where it lies: who had opened it just before reads what is there now. */
  async #readRecordAt(path: string, keyId: string): Promise<KeyRecord> {
    const box = await readWhole(path);
    try {
      return this.#decodeRecord(box, keyId, path);
    } catch (error) {
      if (!isFailure(error, 'KMS_STORE_ALTERED')) throw error;
      const now = await readWhole(path);
      if (now.equals(box)) throw error;
      return this.#decodeRecord(now, keyId, path);
    }
  }

  #decodeRecord(box: Buffer, keyId: string, path: string): KeyRecord {
    const { current } = this.keys;
    return this.#opened(
      () => decodeRecord(box, keyId, current, path),
      (old) => resealRecord(decodeRecord(box, keyId, old, path), old, current, path),
    );
  }

  /** What `open` gives, or, while a rotation is under way, `openOld` of what is still sealed under the old root. */
  #opened<T>(open: () => T, openOld: (old: SecretBytes) => T): T {
    const { old } = this.keys;
    try {
      return open();
    } catch (error) {
      if (old === undefined || !isFailure(error, 'KMS_STORE_ALTERED')) throw error;
      return openOld(old);
    }
  }

  /**
   * Writes the next generation of the record. Where it has lost material that `before` has, the file that it replaces is
   * overwritten. The caller holds the lock.
   */
  async writeRecord(record: KeyRecord, before?: KeyRecord): Promise<void> {
    const name = `keys/${record.keyId}`;
    const next = { ...record, generation: record.generation + 1 };
    await note(this.dir, [next]);
    const replaced = before && hasMaterial(before) && !hasMaterial(next) ? await this.#keep(name) : undefined;
    await this.#write(name, encodeRecord(next, this.root));
    if (replaced !== undefined) await shred(replaced);
  }

  /** A second name of the file, by which it is found once another one has its place. */
  async #keep(name: string): Promise<string> {
    const kept = this.#aside(`${name}.old`);
    await link(join(this.dir, name), kept);
    return kept;
  }

  /** Removes the record, and with it all material of the key; it is overwritten. The caller holds the lock. */
  async removeRecord(keyId: string): Promise<void> {
    const [path, gone] = [this.recordPath(keyId), this.#aside(`keys/${keyId}`)];
    await rename(path, gone);
    await syncFolder(dirname(gone));
    await syncFolder(dirname(path)); // what is overwritten must not come back under its name
    await shred(gone);
  }

  /** The ids of all keys, in order. */
  async keyIds(): Promise<string[]> {
    return (await readdir(join(this.dir, 'keys'))).filter(isKeyId).sort();
  }

  /** The names of the files in `folder`, in order. */
  async namesIn(folder: string): Promise<string[]> {
    return (await readdir(join(this.dir, folder))).sort();
  }

  /** What the sealed file `name` (a path in the folder) holds; undefined when the store is there and has none. */
  async readSealed(name: string): Promise<Buffer | undefined> {
    const path = join(this.dir, name);
    try {
      const box = await readWhole(path);
      const under = (root: SecretBytes) => decodeSealed(box, name, root, path);
      return this.#opened(() => under(this.root), under);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      await stat(dirname(path));
      return undefined;
    }
  }

  /** The caller holds the lock; the folder of `name` is there. */
  async writeSealed(name: string, plain: Buffer): Promise<void> {
    await this.#write(name, encodeSealed(plain, name, this.root));
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

  /** Seals the files `names` under the present root, those that still are under the old one. How many those were. */
  async resealAll(names: readonly string[]): Promise<number> {
    const writes = await Promise.all(names.map((name) => this.#resealed(name)));
    const needed = writes.filter((write) => write !== undefined);
    await writeAllDurably(needed);
    return needed.length;
  }

  async #resealed(name: string): Promise<DurableWrite | undefined> {
    const { current, old } = this.keys;
    const path = join(this.dir, name);
    const box = await readWhole(path).catch((error) => {
      if (errnoOf(error) === 'ENOENT') return undefined; // removed since it was listed
      throw error;
    });
    if (box === undefined || old === undefined || opensUnder(name, box, current)) return undefined;
    return { path, bytes: resealFile(name, box, old, current, path), aside: this.#aside(name) };
  }

  async #write(name: string, bytes: Buffer): Promise<void> {
    await writeAllDurably([{ path: join(this.dir, name), bytes, aside: this.#aside(name) }]);
  }

  #aside(name: string): string {
    return join(this.dir, ASIDE_FOLDER, `${name.replaceAll('/', '.')}.new`);
  }
}

const keyIdIn = (name: string): string | undefined =>
  name.startsWith('keys/') ? name.slice('keys/'.length) : undefined;

function opensUnder(name: string, box: Buffer, root: SecretBytes): boolean {
  const keyId = keyIdIn(name);
  try {
    if (keyId === undefined) decodeSealed(box, name, root, name);
    else decodeRecord(box, keyId, root, name);
    return true;
  } catch (error) {
    if (isFailure(error, 'KMS_STORE_ALTERED')) return false;
    throw error;
  }
}

/** The file `name` opened under `old` and sealed under `current`. Fails with KMS_STORE_ALTERED. */
function resealFile(name: string, box: Buffer, old: SecretBytes, current: SecretBytes, path: string): Buffer {
  const keyId = keyIdIn(name);
  if (keyId === undefined) return encodeSealed(decodeSealed(box, name, old, path), name, current);
  return encodeRecord(resealRecord(decodeRecord(box, keyId, old, path), old, current, path), current);
}

export class Store {
  constructor(readonly dir: string) {}

  /** False where nobody has made a KMS yet. */
  async exists(): Promise<boolean> {
    return this.#catalogued('local:', () => exists(this.dir));
  }

  /** Runs `use` on the store as it is. */
  async read<T>(keyUri: string, use: (store: OpenStore) => Promise<T>): Promise<T> {
    return this.#catalogued(keyUri, () => this.#reading(use));
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
        await sweep(this.dir);
        await mkdir(join(this.dir, ASIDE_FOLDER), { recursive: true, mode: 0o700 });
        await sweep(join(this.dir, ASIDE_FOLDER));
        if (make) await this.#makeRoot();
        return this.#withRoot(change);
      });
    });
  }

  /** A record that does not open may have been sealed under a root that came after ours: then all is read again. */
  async #reading<T>(use: (store: OpenStore) => Promise<T>): Promise<T> {
    for (let left = READS_MAX; ; left--) {
      let marks = '';
      try {
        return await this.#withRoot((store, root) => {
          marks = root.marks;
          return use(store);
        });
      } catch (error) {
        const altered = isFailure(error, 'KMS_STORE_ALTERED') && marks !== '' && left > 0;
        if (!altered || (await rootMarks(this.dir)) === marks) throw error;
      }
    }
  }

  async #withRoot<T>(use: (store: OpenStore, root: OpenRoot) => Promise<T>): Promise<T> {
    const lax = this.#checkMode().then(
      () => undefined,
      (error: unknown) => error,
    );
    const root = await acquireRoot(this.dir);
    try {
      const refused = await lax;
      if (refused !== undefined) throw refused;
      return await use(new OpenStore(this.dir, root.keys), root);
    } finally {
      root.release();
    }
  }

  async #makeFolders(): Promise<void> {
    for (const folder of FOLDERS) await mkdir(join(this.dir, folder), { recursive: true, mode: 0o700 });
  }

  async #makeRoot(): Promise<void> {
    const names = await readdir(this.dir);
    if (names.some((name) => name === 'root.json' || ROOT_FILES.test(name))) {
      if (names.includes('audit.head')) return;
    } else {
      if ((await readdir(join(this.dir, 'keys'))).some(isKeyId)) {
        fail('KMS_STORE', { path: this.dir, why: 'root.key is missing, and keys are there that it sealed' });
      }
      await syncFolder(join(this.dir, '..')); // whoever made the folders: they are there before what they hold
      await syncFolder(this.dir);
      await makeRootKey(this.dir);
    }
    // Where there are keys already, a head that is missing was taken away: the next line of the log says so.
    if ((await readdir(join(this.dir, 'keys'))).some(isKeyId)) return;
    await this.#withRoot((store) => makeAuditHead(this.dir, store.root));
  }

  async #checkMode(): Promise<void> {
    const { mode } = await statOf(this.dir);
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
