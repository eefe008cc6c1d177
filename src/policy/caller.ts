/**
 * Who asks: an account of this machine and its groups, by the system's user database.
 *
 * A command is asked for by the user it runs as; one that the daemon runs for somebody, by whom the daemon was asked
 * (src/daemon). That is told to the process by its start, never by its environment or its words, and once.
 */

import { engine } from '../engine/engine.js';
import { fail } from '../errors.js';

export interface Caller {
  readonly uid: number;
  /** The account's name; the number of one that has none. */
  readonly user: string;
  readonly groups: readonly string[];
  /** Asked through the daemon: only what is the caller's own is touched. */
  readonly guest: boolean;
}

let told: Caller | undefined;

/** The caller with this number. */
export function callerOf(uid: number, guest: boolean): Caller {
  const account = engine().account(uid);
  return { uid, user: account?.name ?? `${uid}`, groups: account?.groups ?? [], guest };
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
