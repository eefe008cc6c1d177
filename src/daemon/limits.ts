/** What a caller may cost, each with its reason. */

/** Words of a command line: the longest has some fifty tags. */
export const WORDS_MAX = 128;
/** A request in bytes: fifty tags of the greatest length fit. */
export const REQUEST_MAX_BYTES = 64 * 1024;
/** A caller is a program that writes its one line at once. */
export const REQUEST_TIMEOUT_MS = 5_000;
/** Callers at a time; each costs a descriptor and a few kilobytes until its turn comes. */
export const CALLERS_MAX = 1024;
export const CALLERS_PER_USER_MAX = 256;
/** Commands that run at a time, each a process of 50 MB: so that nobody's long ones keep the others waiting. */
export const COMMANDS_MAX = 32;
export const COMMANDS_PER_USER_MAX = 8;
/** How long a caller may leave its output unread: a command that waits for it holds a turn. */
export const STALL_TIMEOUT_MS = 30_000;
/** How long commands may go on when the daemon is to end. */
export const DRAIN_TIMEOUT_MS = 30_000;
/** How long one that is over a limit may take to read that. */
export const TURN_AWAY_MS = 1_000;
