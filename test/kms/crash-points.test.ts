/**
 * The making of a store, of the service key and of its alias, cut at every fsync: strace kills the process at the n-th
 * one, for n from one until it gets through. Between two of them lies one rename at most, so every state is met.
 */

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { LocalKms } from '#sealdisk/kms/local/local-kms.js';
import { tempPool } from './pool.js';

const WORKER = fileURLToPath(new URL('./worker.js', import.meta.url));
const CALLS_MAX = 30;

t.setTimeout(110_000);

/** Runs a worker that is killed at its `n`-th fsync. Its output, and whether it got through. */
function cutAt(n: number, dir: string): { through: boolean; told: string } {
  const inject = `inject=fsync:signal=SIGKILL:when=${n}`;
  const args = ['-f', '-qq', '-o', '/dev/null', '-e', 'trace=fsync', '-e', inject];
  // strace counts the calls of each thread by itself: one thread makes them all.
  const env = { ...process.env, UV_THREADPOOL_SIZE: '1' };
  const run = spawnSync('strace', [...args, process.execPath, WORKER, dir, 'service'], {
    encoding: 'utf8',
    env,
  });
  if (run.error) throw run.error;
  return { through: run.status === 0, told: run.stdout.trim() };
}

t.test('killed at any fsync, the next process makes one whole store', async (t) => {
  let n = 1;
  for (; n <= CALLS_MAX; n++) {
    const dir = join(await tempPool(t), 'kms');
    const { through, told } = cutAt(n, dir);
    const kms = LocalKms.open(dir);
    const keyId = await kms.resolve('alias/acs/ecs');
    const { plaintext, ciphertext } = await kms.generateDataKey(keyId, 64, {});
    t.ok((await kms.decrypt(ciphertext, {})).plaintext.equals(plaintext), `fsync ${n}`);
    t.equal((await kms.listKeys()).keys.length, 1, 'one service key, none orphaned');
    if (told !== '') t.equal(JSON.parse(told), keyId, 'an answer stays true');
    if (through) break;
  }
  t.ok(n > 8 && n < CALLS_MAX, `${n - 1} calls were cut`);
});
