/**
 * A mounted file system held still while a snapshot is taken, so that what the disk holds is consistent by itself.
 *
 * Kept true: it is thawed when it is asked for, and also when this process is killed: the freezing is done by a process of its
 * own, which thaws at the end of its standard input.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fail } from '../errors.js';

/** Freezes what is mounted there; the answer thaws it, twice is fine. DISK_FREEZE. */
export async function freeze(mountPoint: string): Promise<() => Promise<void>> {
  const script = 'fsfreeze -f "$1" && echo frozen && cat >/dev/null; fsfreeze -u "$1"';
  const child = spawn('sh', ['-c', script, 'sh', mountPoint], {
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const ended = once(child, 'close');
  const frozen = once(createInterface({ input: child.stdout }), 'line').then(() => true);
  if (await Promise.race([frozen, ended.then(() => false)])) {
    return async () => {
      child.stdin.end();
      await ended;
    };
  }
  return fail('DISK_FREEZE', { mountPoint, why: said.trim().split('\n')[0] ?? 'fsfreeze failed' });
}
