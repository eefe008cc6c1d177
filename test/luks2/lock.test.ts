import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { holdLock, takeLock, withLock } from '#sealdisk/luks2/lock.js';

const SHORT_MS = 120;
const nothing = async () => {};

/** Opens the file once for each who wants the lock: flock belongs to the open file, not to the process. */
function openers(t: Test): { path: string; open: () => number } {
  const path = join(t.testdir({ disk: '' }), 'disk');
  const open = () => {
    const fd = openSync(path, 'r+');
    t.teardown(() => closeSync(fd));
    return fd;
  };
  return { path, open };
}

t.test('lets readers share, and no writer in meanwhile', async (t) => {
  const { path, open } = openers(t);
  await withLock(open(), path, 'shared', async () => {
    t.equal(await withLock(open(), path, 'shared', async () => 'read', SHORT_MS), 'read');
    await t.rejects(withLock(open(), path, 'exclusive', nothing, SHORT_MS), {
      code: 'DISK_IN_USE',
      facts: { path },
    });
  });
});

t.test('lets one writer in, and no reader meanwhile', async (t) => {
  const { path, open } = openers(t);
  await withLock(open(), path, 'exclusive', async () => {
    for (const mode of ['shared', 'exclusive'] as const) {
      await t.rejects(withLock(open(), path, mode, nothing, SHORT_MS), { code: 'DISK_IN_USE' });
    }
  });
});

t.test('gives the lock back when the work is done, and when it fails', async (t) => {
  const { path, open } = openers(t);
  await withLock(open(), path, 'exclusive', nothing);
  const failing = withLock(open(), path, 'exclusive', () => Promise.reject(new Error('no')));
  await t.rejects(failing, { message: 'no' });
  t.equal(await withLock(open(), path, 'exclusive', async () => 'free', SHORT_MS), 'free');
});

t.test('waits for a holder who leaves in time', async (t) => {
  const { path, open } = openers(t);
  let leave = () => {};
  let holder = Promise.resolve();
  await new Promise<void>((held) => {
    const work = () =>
      new Promise<void>((resolve) => {
        leave = resolve;
        held();
      });
    holder = withLock(open(), path, 'exclusive', work);
  });
  const waiter = withLock(open(), path, 'exclusive', async () => 'next');
  leave();
  await holder;
  t.equal(await waiter, 'next');
});

t.test('holds a disk against writers and a second holder, not against readers', async (t) => {
  const { path, open } = openers(t);
  const fd = open();
  t.equal(await holdLock(fd, path, async () => 'held'), 'held');
  t.equal(await withLock(open(), path, 'shared', async () => 'read', SHORT_MS), 'read');
  await t.rejects(withLock(open(), path, 'exclusive', nothing, SHORT_MS), { code: 'DISK_IN_USE' });
  await t.rejects(holdLock(open(), path, nothing, SHORT_MS), { code: 'DISK_IN_USE' });
});

t.test('holds nothing when the work under it failed', async (t) => {
  const { path, open } = openers(t);
  await t.rejects(
    holdLock(open(), path, () => Promise.reject(new Error('no'))),
    { message: 'no' },
  );
  t.equal(await withLock(open(), path, 'exclusive', async () => 'free', SHORT_MS), 'free');
});

t.test('frees the disk when its holder is killed', async (t) => {
  const { path, open } = openers(t);
  const holder = spawn('flock', ['--shared', path, 'sh', '-c', 'echo held; exec sleep 60'], {
    detached: true,
  });
  t.teardown(() => holder.kill('SIGKILL'));
  await once(holder.stdout, 'data');
  await t.rejects(takeLock(open(), path, 'exclusive', SHORT_MS), { code: 'DISK_IN_USE' });
  process.kill(-(holder.pid as number), 'SIGKILL');
  await once(holder, 'exit');
  t.equal(await withLock(open(), path, 'exclusive', async () => 'free'), 'free');
});

t.test('tells a descriptor that cannot be locked from one that is', async (t) => {
  const fd = openSync('/dev/null', 'r');
  closeSync(fd);
  await t.rejects(takeLock(fd, '/dev/null', 'shared', SHORT_MS), {
    code: 'DISK_IO',
    facts: { errno: 'EBADF' },
  });
});
