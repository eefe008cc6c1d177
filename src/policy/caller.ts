/**
 * Who asks: an account of this machine and its groups, by the system's user database.
 *
 * A command is asked for by the user it runs as; one that the daemon runs for somebody, by whom the daemon was asked
 * (src/daemon). That is told to the process by its start, never by its environment or its words, and once.
 */

import { type Account, engine } from '../engine/engine.js';
import { fail } from '../errors.js';

export interface Caller {
  readonly uid: number;
  /** The account's name; the number of one that has none. */
  readonly user: string;
  readonly groups: readonly string[];
  /** Asked through the daemon: only what is the caller's own is touched. */
  readonly guest: boolean;
}

/** Says whose an object is; only the daemon sets it. */
export const OWNER_TAG = 'owner';

/** Whether the caller may see and touch an object with these tags, as far as that depends on whose it is. */
export const isOwn = ({ guest, uid, user }: Caller, tags: Readonly<Record<string, string>>): boolean =>
  !guest || uid === 0 || tags[OWNER_TAG] === user;

let told: Caller | undefined;

/** The caller with this number. The user database is asked when the name or the groups are. */
export function callerOf(uid: number, guest: boolean): Caller {
  let found: Account | null | undefined;
  const account = (): Account | null => {
    if (found === undefined) found = engine().account(uid);
    return found;
  };
  return {
    uid,
    guest,
    get user() {
      return account()?.name ?? `${uid}`;
    },
    get groups() {
      return account()?.groups ?? [];
    },
  };
}

/** From now on this process does what `caller` asks. */
export function setCaller(caller: Caller): void {
  if (told !== undefined) fail('INTERNAL', { what: 'a second caller' });
  told = caller;
}

export function currentCaller(): Caller {
  told ??= callerOf(process.getuid?.() ?? 0, false);
  return told;
}
