/** A transmission that asks for nothing is closed, one that waits for an answer is not. */

import t, { type Test } from 'tap';
import { decide, type Watch } from '#sealdisk/nbd/server/idle.js';
import type { Activity, TransmitArgs } from '#sealdisk/nbd/server.js';
import { rawClient, startRig } from './rig.js';
import { clientFlags, goData, option } from './wire.js';

const GO = Buffer.concat([clientFlags(3), option(7, goData('disk'))]);
const IDLE_MS = 100;

const cases: [string, Activity, number, Watch, boolean][] = [
  // title, activity, now, watch after it, idle
  ['nothing, too early', { requests: 5n, waiting: 0 }, 1099, { requests: 5n, busyAtMs: 1000 }, false],
  ['nothing, for the whole time', { requests: 5n, waiting: 0 }, 1100, { requests: 5n, busyAtMs: 1000 }, true],
  [
    'a request at the last moment',
    { requests: 6n, waiting: 0 },
    1100,
    { requests: 6n, busyAtMs: 1100 },
    false,
  ],
  ['a request that waits', { requests: 5n, waiting: 1 }, 9999, { requests: 5n, busyAtMs: 9999 }, false],
];

for (const [title, activity, nowMs, next, idle] of cases) {
  t.test(`after ${title}, it is ${idle ? '' : 'not '}idle`, async (t) => {
    t.same(decide({ requests: 5n, busyAtMs: 1000 }, activity, nowMs, IDLE_MS), { next, idle });
  });
}

t.test('the time begins anew when the last answer has gone', async (t) => {
  const waited = decide({ requests: 1n, busyAtMs: 0 }, { requests: 1n, waiting: 1 }, 500, IDLE_MS).next;
  t.equal(decide(waited, { requests: 1n, waiting: 0 }, 599, IDLE_MS).idle, false);
  t.equal(decide(waited, { requests: 1n, waiting: 0 }, 600, IDLE_MS).idle, true);
});

/** Transmissions whose activity the test sets; `closed` holds those that the server closed. */
async function startControlled(t: Test, idleMs: number) {
  const activities: { requests: bigint; waiting: number }[] = [];
  const closed: number[] = [];
  const ends: (() => void)[] = [];
  const transmit = ({ negotiated }: TransmitArgs) => {
    const activity = { requests: 0n, waiting: 0 };
    const nth = activities.push(activity) - 1;
    const ended = new Promise<unknown>((resolve) => ends.push(() => resolve(negotiated)));
    const close = (): void => {
      closed.push(nth);
      ends[nth]?.();
    };
    return { ended, close, activity: () => activity };
  };
  const rig = await startRig(t, { limits: { idleMs }, transmit });
  const enter = async (nth: number): Promise<void> => {
    const { socket } = await rawClient(rig.path);
    socket.write(GO);
    await rig.event('transmitting', nth);
  };
  return { ...rig, activities, closed, enter };
}

t.test(
  'an idle transmission is closed, and one whose request waits is not until it is answered',
  async (t) => {
    const rig = await startControlled(t, 50);
    await rig.enter(1);
    const [first] = rig.activities;
    if (!first) throw new Error('no transmission');
    first.requests = 1n;
    first.waiting = 1;
    await rig.enter(2);
    t.same(await rig.event('idle'), { kind: 'idle', peer: 'unix', idleMs: 50 });
    await rig.event('ended');
    t.same(rig.closed, [1]);
    first.waiting = 0;
    await rig.event('ended', 2);
    t.same(rig.closed, [1, 0]);
  },
);

t.test('a transmission is never idle without a limit', async (t) => {
  const rig = await startControlled(t, 0);
  await rig.enter(1);
  const limited = await startControlled(t, 50);
  await limited.enter(1);
  await limited.event('ended');
  t.same(rig.closed, []);
});
