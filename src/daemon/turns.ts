/**
 * Whose command runs next: so many at a time, of one user fewer, and users in turn, so that one who sends a thousand
 * commands keeps nobody waiting but itself.
 */

export interface Turn {
  /** Resolves when the command may run; never after `leave`. */
  readonly mine: Promise<void>;
  /** The command has ended, or is not wanted any more. Twice is fine. */
  leave(): void;
}

interface Waiting {
  readonly begin: () => void;
}

export class Turns {
  readonly #running = new Map<number, number>();
  /** Users who wait, the next one first. */
  readonly #waiting = new Map<number, Set<Waiting>>();
  #total = 0;

  constructor(
    private readonly most: number,
    private readonly mostPerUser: number,
  ) {}

  take(uid: number): Turn {
    let state: 'waits' | 'runs' | 'over' = 'waits';
    let begin = (): void => undefined;
    const mine = new Promise<void>((resolve) => {
      begin = resolve;
    });
    const waiting: Waiting = {
      begin: () => {
        state = 'runs';
        this.#count(uid, 1);
        begin();
      },
    };
    this.#waiting.set(uid, (this.#waiting.get(uid) ?? new Set()).add(waiting));
    this.#next();
    const leave = (): void => {
      if (state === 'waits') this.#forget(uid, waiting);
      if (state === 'runs') this.#count(uid, -1);
      state = 'over';
      this.#next();
    };
    return { mine, leave };
  }

  #count(uid: number, change: 1 | -1): void {
    const now = (this.#running.get(uid) ?? 0) + change;
    this.#total += change;
    if (now === 0) this.#running.delete(uid);
    else this.#running.set(uid, now);
  }

  #forget(uid: number, waiting: Waiting): void {
    const all = this.#waiting.get(uid);
    all?.delete(waiting);
    if (all?.size === 0) this.#waiting.delete(uid);
  }

  #next(): void {
    while (this.#total < this.most) {
      const uid = [...this.#waiting.keys()].find((each) => (this.#running.get(each) ?? 0) < this.mostPerUser);
      if (uid === undefined) return;
      const all = this.#waiting.get(uid) as Set<Waiting>;
      const [first] = all;
      this.#waiting.delete(uid); // and behind the others again, when it waits for more
      if (first) all.delete(first);
      if (all.size > 0) this.#waiting.set(uid, all);
      first?.begin();
    }
  }
}
