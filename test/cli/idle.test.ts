/**
 * A served disk that nobody uses costs no processor: less than 10 ms in ten seconds, 0.1 % of one, all threads of the
 * process, with the checks of its key at their default interval. Right after a load V8 clears up, so ten seconds that cost
 * so little are awaited, for eighty.
 */

import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { rig, run } from './rig.js';

t.setTimeout(170_000);

const WINDOW_MS = 10_000;
const ALLOWED_MS = 10;
/** How many windows V8 may take to settle. */
const WINDOWS = 8;

/** Processor time of all threads, in milliseconds: the scheduler's own figure, to the nanosecond. */
function busyMs(pid: number): number {
  const tasks = readdirSync(`/proc/${pid}/task`);
  const nanoseconds = tasks.map((task) =>
    Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]),
  );
  return nanoseconds.reduce((sum, one) => sum + one, 0) / 1e6;
}

t.test('an idle disk costs no processor after a load, its key being checked', async (t) => {
  const { disk, serve, at } = rig(t);
  const serving = await serve(await disk('data'), '--socket', at('s'));
  const copied = await run('nbdcopy', [serving.uri, 'null:']);
  t.equal(copied.code, 0, copied.err);
  const seen: number[] = [];
  while (seen.length < WINDOWS && Math.min(ALLOWED_MS, ...seen) === ALLOWED_MS) {
    const before = busyMs(serving.pid);
    await delay(WINDOW_MS);
    seen.push(busyMs(serving.pid) - before);
  }
  t.comment(`ms of processor time in each ten seconds: ${seen.map((one) => one.toFixed(1)).join(', ')}`);
  t.ok(Math.min(...seen) < ALLOWED_MS, 'less than 10 ms in ten seconds');
});
