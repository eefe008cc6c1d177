/**
 * create, killed at every call that makes something durable or visible: under its name stands a whole disk or nothing.
 * strace counts the calls of each thread by itself: one thread makes them all.
 */

import { existsSync, rmSync } from 'node:fs';
import t from 'tap';
import { MAIN, rig, run } from '../cli/rig.js';

t.setTimeout(170_000);

const CALLS_MAX = 10;

for (const call of ['ftruncate', 'fdatasync', 'fsync', 'link']) {
  t.test(`killed at any ${call}, create leaves a whole disk or none, and can be done again`, async (t) => {
    const { at, env, json } = rig(t);
    await json('key', 'create', '--alias', 'bar');
    const making = ['create', at('d'), '--size', '1M', '--key', 'alias/bar'];
    let cut = 0;
    for (; cut < CALLS_MAX; cut++) {
      const inject = ['-e', `trace=${call}`, '-e', `inject=${call}:signal=SIGKILL:when=${cut + 1}`];
      const strace = ['-f', '-qq', '-o', '/dev/null', ...inject, process.execPath, MAIN, ...making];
      const { code } = await run('strace', strace, { ...env, UV_THREADPOOL_SIZE: '1' });
      if (existsSync(at('d'))) t.match(await json('info', at('d')), { headerCopies: 'good' });
      if (code === 0) break;
      rmSync(at('d'), { force: true });
    }
    t.ok(cut > 0 && cut < CALLS_MAX, `${cut} calls were cut`);
  });
}
