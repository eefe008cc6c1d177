/** Processes of an attachment are killed under a mounted, busy ext4: no error, nothing acknowledged lost. */

import { readFileSync } from 'node:fs';
import t from 'tap';
import { attach } from '#sealdisk/attach/attachments.js';
import { firstWrong, Writer } from './records.js';
import {
  attached,
  fsck,
  gateIs,
  isLoaded,
  kill,
  kms,
  listed,
  mount,
  mountNew,
  newDisk,
  nothingRemains,
  processesOf,
  requestFor,
  slowness,
  status,
  umount,
  until,
  watchKernel,
} from './rig.js';

/** From the kill to the next acknowledged records, on a machine that has nothing else to do. */
const RETURN_MS = 10_000;

const disk = await newDisk();
const serverPid = async () => (await gateIs(disk, 'live')).serverPid;
const another = (dead: number) =>
  until('another server', async () => ((await status(disk))?.serverPid ?? dead) !== dead);
const standby = async () => {
  const pid = await serverPid();
  return until('a server that stands by', () => {
    const found = processesOf(disk, pid).standby?.pid;
    return found !== undefined && isLoaded(found) && found;
  });
};

await t.test('under a mounted ext4 with two writers', async (t) => {
  const { device } = await attached(t, disk, { standby: true });
  const dir = mountNew(device);
  const complaints = watchKernel();
  const writers = [new Writer(t, `${dir}/a`), new Writer(t, `${dir}/b`)];
  const advance = () => Promise.all(writers.map((one) => one.advance(5)));
  await advance();

  await t.test('the server: writes go on within ten seconds', async (t) => {
    const slow = slowness();
    const pid = await serverPid();
    await standby();
    const startedMs = performance.now();
    await kill(pid);
    await another(pid);
    await advance();
    const returnMs = Math.round(performance.now() - startedMs);
    t.ok(returnMs < RETURN_MS * slow, `5 records more after ${returnMs} ms`);
  });

  await t.test('the server that stands by, and then the one that serves', async () => {
    const pid = await serverPid();
    await kill(await standby());
    await kill(pid);
    await another(pid);
    await advance();
  });

  await t.test(
    'the server while its key is disabled: it comes back hung, and goes on after enable',
    async (t) => {
      await kms.disableKey(disk.key);
      const { serverPid } = await gateIs(disk, 'hung');
      await kill(serverPid);
      await another(serverPid);
      t.match(await listed(disk), { gate: 'hung', reason: /is disabled/, device });
      const before = writers.map((one) => one.acknowledged);
      await kms.enableKey(disk.key);
      await gateIs(disk, 'live');
      await advance();
      t.ok(writers.every((one, i) => one.acknowledged > (before[i] ?? 0)));
    },
  );

  await t.test(
    'the supervisor: the server lives on, and after its death attach takes the device over',
    async (t) => {
      const { supervisor } = processesOf(disk);
      const score = readFileSync(`/proc/${supervisor?.pid}/oom_score_adj`, 'utf8');
      t.equal(score, '-999\n', 'it is not what the OOM killer takes');
      const pid = await serverPid();
      await kill(supervisor?.pid ?? 0);
      await until('the standby to leave', () => processesOf(disk).all.length === 1);
      await advance();
      await t.rejects(attach(requestFor(disk)), { code: 'ATTACH_ALREADY' });

      await kill(pid);
      t.match(await listed(disk), { serverPid: null, device });
      const again = await attach(requestFor(disk, { standby: true }));
      t.equal(again.device, device);
      await advance();
    },
  );

  t.same(await Promise.all(writers.map((one) => one.stop())), [0, 0], 'the writers met no error');
  umount(dir);
  fsck(device);
  mount(device);
  for (const [i, name] of ['a', 'b'].entries()) {
    t.equal(
      firstWrong(`${dir}/${name}`, writers[i]?.acknowledged ?? -1),
      0,
      `every record of ${name} is there`,
    );
  }
  umount(dir);
  t.same(complaints(), [], 'the kernel saw no error');
});

t.test('at the end nothing of these attachments remains', (t) => nothingRemains(t));
