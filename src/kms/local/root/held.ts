/**
 * The opened root keys of this process, one for each store: to open one costs file operations, secure memory, and with a
 * passphrase a second. So it is held for a moment after its last use, or for as long as somebody says (`holdRoot`).
 *
 * Kept true: every use asks first whether `root.json` and the files of root keys still are what they were, and opens them
 * anew when not. What is in use is not freed under its user. Locked memory only; freed when nobody holds it.
 */

import { join } from 'node:path';
import type { SecretBytes } from '../../provider.js';
import { marksOf, Shared } from '../files.js';
import { freeSecret } from '../secret.js';
import { descriptionPath, entriesOf, readDescription, rootFilesOf } from './description.js';
import { unprotect } from './protection.js';

/** How long an opened root is kept after its last use. */
const IDLE_MS = 1000;

/** `current` seals; while a rotation is under way `old` still opens what is not sealed again. */
export interface RootKeys {
  readonly current: SecretBytes;
  readonly old: SecretBytes | undefined;
}

/** An opened root in use; whoever got it gives it back by `release`. */
export class OpenRoot {
  #users = 0;
  #dropped = false;
  lastUsedMs = 0;

  constructor(
    readonly keys: RootKeys,
    readonly marks: string,
  ) {}

  get dropped(): boolean {
    return this.#dropped;
  }

  get inUse(): boolean {
    return this.#users > 0;
  }

  use(): this {
    this.#users += 1;
    return this;
  }

  release(): void {
    this.#users -= 1;
    this.lastUsedMs = performance.now();
    this.#freeWhenDone();
  }

  /** It is freed when its last user gives it back. */
  drop(): void {
    this.#dropped = true;
    this.#freeWhenDone();
  }

  #freeWhenDone(): void {
    if (!this.#dropped || this.#users > 0) return;
    freeSecret(this.keys.current);
    freeSecret(this.keys.old);
  }
}

class Holder {
  readonly #look: Shared<string>;
  #files: { readonly described: string; readonly names: readonly string[] } = { described: '', names: [] };
  #held: OpenRoot | undefined;
  #opening: { readonly marks: string; readonly root: Promise<OpenRoot> } | undefined;
  #timer: NodeJS.Timeout | undefined;
  holders = 0;

  constructor(private readonly dir: string) {
    this.#look = new Shared(() => this.#marks());
  }

  marks(): Promise<string> {
    return this.#look.ask();
  }

  async acquire(): Promise<OpenRoot> {
    const marks = await this.marks();
    if (this.#held?.marks === marks) return this.#held.use();
    if (this.#opening?.marks !== marks) this.#opening = { marks, root: this.#open(marks) };
    const { root } = this.#opening;
    try {
      const opened = await root;
      return opened.dropped ? await this.acquire() : opened.use();
    } finally {
      if (this.#opening?.root === root) this.#opening = undefined;
    }
  }

  /** Takes over `keys`, which are those of the files as they are now. */
  async adopt(keys: RootKeys): Promise<void> {
    this.#put(new OpenRoot(keys, await this.marks()));
  }

  #put(root: OpenRoot): void {
    root.lastUsedMs = performance.now();
    this.#held?.drop();
    this.#held = root;
    this.dropWhenIdle();
  }

  /** Looked at before it is read: what changes in between has other marks at the next look. */
  async #open(marks: string): Promise<OpenRoot> {
    const description = await readDescription(this.dir);
    const keys: SecretBytes[] = [];
    try {
      for (const entry of entriesOf(description)) keys.push(await unprotect(this.dir, entry));
    } catch (error) {
      for (const key of keys) freeSecret(key);
      throw error;
    }
    const root = new OpenRoot({ current: keys[0] as SecretBytes, old: keys[1] }, marks);
    this.#put(root);
    return root;
  }

  /** Nobody asks for it to be held any more: it goes at once, or when its last user is done. */
  letGo(): void {
    if (this.holders > 0) return;
    this.#held?.drop();
    this.#held = undefined;
  }

  dropWhenIdle(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      const held = this.#held;
      if (held === undefined || this.holders > 0) return;
      const idleMs = performance.now() - held.lastUsedMs;
      if (held.inUse || idleMs < IDLE_MS) return this.dropWhenIdle();
      this.#held = undefined;
      held.drop();
      holders.delete(this.dir);
    }, IDLE_MS);
    this.#timer.unref();
  }

  async #marks(): Promise<string> {
    const described = await marksOf(descriptionPath(this.dir));
    if (described !== this.#files.described) {
      this.#files = { described, names: rootFilesOf(await readDescription(this.dir)) };
    }
    const files = await Promise.all(this.#files.names.map((name) => marksOf(join(this.dir, name))));
    return [described, ...files].join('; ');
  }
}

const holders = new Map<string, Holder>();

function holderOf(dir: string): Holder {
  const holder = holders.get(dir) ?? new Holder(dir);
  holders.set(dir, holder);
  return holder;
}

/** The root keys of the store in `dir`, as they are now. */
export const acquireRoot = (dir: string): Promise<OpenRoot> => holderOf(dir).acquire();

/** What changes when the root keys, or how they are kept, do. */
export const rootMarks = (dir: string): Promise<string> => holderOf(dir).marks();

/**
 * For who has just changed the root, under the store's lock, and knows the keys: nobody is asked for a passphrase anew.
 * `keys` are freed with it.
 */
export const adoptRoot = (dir: string, keys: RootKeys): Promise<void> => holderOf(dir).adopt(keys);

/** For a process that serves: the root stays open once it was, until the returned function is called. */
export function holdRoot(dir: string): () => void {
  const holder = holderOf(dir);
  holder.holders += 1;
  let done = false;
  return () => {
    if (done) return;
    done = true;
    holder.holders -= 1;
    holder.letGo();
  };
}
