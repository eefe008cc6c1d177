/**
 * Where a command is carried out: here, or by the daemon.
 *
 * The daemon is asked by a user who is not root, for a command that it has, on a pool that this user cannot write. What
 * names a file by its path is done here: the file system says then what is allowed.
 */

import { accessSync, constants, existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { askDaemon } from '../daemon/client.js';
import { isForCallers, type Plan, planOf } from '../daemon/commands.js';
import { DAEMON_SOCKET } from '../daemon/protocol.js';
import { catalogued } from '../errors.js';
import { DEFAULT_POOL } from './default-pool.js';
import { passOn, printFailure, watchOutput } from './output.js';

/** Carries the words out by the daemon, if that is theirs to do; false: they are to be carried out here. */
export async function byDaemon(words: readonly string[]): Promise<boolean> {
  if (process.getuid?.() === 0 || !isForCallers(words[0] ?? '')) return false;
  if (words.some((word) => word === '--help' || word === '-h')) return false;
  const socket = process.env.SEALDISK_DAEMON ?? DAEMON_SOCKET;
  if (!existsSync(socket)) return false;
  const pool = resolve(poolIn(words) ?? process.env.SEALDISK_POOL ?? DEFAULT_POOL);
  if (isWritable(pool)) return false;
  try {
    if (hasPath(planOf(words))) return false;
    watchOutput();
    process.exitCode = await askDaemon(socket, { words, pool }, (frame) =>
      'out' in frame ? passOn(frame.out, 'out') : passOn(frame.err, 'err'),
    );
  } catch (error) {
    const failure = catalogued(error);
    printFailure(failure, false);
    process.exitCode = failure.exitCode;
  }
  return true;
}

/** The last --pool, wherever it stands. */
function poolIn(words: readonly string[]): string | undefined {
  const at = words.findLastIndex((word) => word === '--pool' || word.startsWith('--pool='));
  const word = words[at];
  return word === '--pool' ? words[at + 1] : word?.slice('--pool='.length);
}

function isWritable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

const hasPath = ({ args, options }: Plan): boolean =>
  [...args, ...options].some(
    ({ kind, text }) =>
      (kind === 'object' || kind === 'new') && text.includes('/') && !text.startsWith('/dev/nbd'),
  );
