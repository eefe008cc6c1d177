/**
 * Questions to a KMS, shared by the disks of one process: however many lie under a key, it is asked about once.
 *
 * Kept true: an answer is given only to who asked for one no older than it (`sinceMs`), and a question that is under way
 * counts from when it began, so that what is heard is never older than what was asked for. A change that the KMS tells of
 * reaches every disk, through one watch. The provider of whoever is served is used, so none outlives its disk.
 */

import { failureOf, isFailure, type SealdiskError } from '../errors.js';
import { canWatch, type KeyDescription, type KeyProvider } from '../kms/provider.js';
import { KMS_TIMEOUT_MS } from './patience.js';

/** What the KMS says of a key. */
export interface KeyAnswer {
  /** When it was asked; monotonic. */
  readonly askedMs: number;
  /** The description, or why there is none. */
  readonly said: KeyDescription | SealdiskError;
}

/** A disk's part in the questions about its key. */
export interface KeyCheck {
  /** An answer to a question that began at `sinceMs` or later. */
  ask(sinceMs: number): Promise<KeyAnswer>;
  /** Twice is fine. Before its provider is closed. */
  leave(): void;
}

/** How many keys are unwrapped at once by one KMS key, when many disks get theirs back. */
const UNWRAPS_AT_ONCE = 8;

export class KeyChecks {
  readonly #keys = new Map<string, AskedKey>();
  readonly #turns = new Map<string, Turns>();

  /** Takes part in the questions about `keyId`; `onChange` hears when the KMS told of a change: all the same moment. */
  join(provider: KeyProvider, keyId: string, onChange: (sinceMs: number) => void): KeyCheck {
    const name = `${provider.keyUri}\0${keyId}`;
    const key = this.#keys.get(name) ?? new AskedKey(keyId);
    this.#keys.set(name, key);
    const member = { provider, onChange };
    key.join(member);
    return {
      ask: (sinceMs) => key.ask(provider, sinceMs),
      leave: () => {
        if (key.leave(member)) this.#keys.delete(name);
      },
    };
  }

  /** Runs `unwrap` when it is its turn among those of the key that `keyUri` names. */
  async inTurn<T>(keyUri: string, unwrap: () => Promise<T>): Promise<T> {
    const turns = this.#turns.get(keyUri) ?? new Turns(UNWRAPS_AT_ONCE);
    this.#turns.set(keyUri, turns);
    try {
      return await turns.run(unwrap);
    } finally {
      if (turns.idle) this.#turns.delete(keyUri);
    }
  }
}

/** Work of which only so much is done at once. */
class Turns {
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(private readonly atOnce: number) {}

  get idle(): boolean {
    return this.#running === 0;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running >= this.atOnce) await new Promise<void>((go) => this.#waiting.push(go));
    else this.#running++;
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#running--;
    }
  }
}

interface Member {
  readonly provider: KeyProvider;
  readonly onChange: (sinceMs: number) => void;
}

/** One key, and those who ask about it. */
class AskedKey {
  readonly #members = new Set<Member>();
  #watch: { readonly by: Member; close(): void } | undefined;
  #last: KeyAnswer | undefined;
  #asking: { readonly askedMs: number; readonly answer: Promise<KeyAnswer> } | undefined;

  constructor(private readonly keyId: string) {}

  join(member: Member): void {
    this.#members.add(member);
    this.#keepWatch();
  }

  /** True when nobody is left. */
  leave(member: Member): boolean {
    this.#members.delete(member);
    if (this.#watch?.by === member) this.#keepWatch(true);
    return this.#members.size === 0;
  }

  ask(provider: KeyProvider, sinceMs: number): Promise<KeyAnswer> {
    if (this.#last && this.#last.askedMs >= sinceMs) return Promise.resolve(this.#last);
    if (this.#asking && this.#asking.askedMs >= sinceMs) return this.#asking.answer;
    const askedMs = performance.now();
    const asking = { askedMs, answer: this.#describe(provider, askedMs) };
    this.#asking = asking;
    asking.answer.then((answer) => {
      if (this.#asking === asking) this.#asking = undefined;
      if (this.#last && this.#last.askedMs > askedMs) return;
      // A KMS that was away may be another one: what was watched there tells nothing more.
      if (isFailure(this.#last?.said) && !isFailure(answer.said)) this.#keepWatch(true);
      this.#last = answer;
    });
    return asking.answer;
  }

  async #describe(provider: KeyProvider, askedMs: number): Promise<KeyAnswer> {
    let described: KeyDescription | undefined;
    const failure = await failureOf(async () => {
      described = await provider.describeKey(this.keyId, { timeoutMs: KMS_TIMEOUT_MS });
    });
    return { askedMs, said: failure ?? (described as KeyDescription) };
  }

  #keepWatch(anew = false): void {
    if (this.#watch && !anew) return;
    this.#watch?.close();
    this.#watch = undefined;
    const [by] = this.#members;
    if (!by || !canWatch(by.provider)) return;
    const { close } = by.provider.watch(this.keyId, () => {
      const sinceMs = performance.now();
      for (const { onChange } of this.#members) onChange(sinceMs);
    });
    this.#watch = { by, close };
  }
}
