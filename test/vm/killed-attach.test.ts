/** An attach that is killed at any point leaves nothing that a second try does not clean up. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import t from 'tap';
import { attach, detach } from '#sealdisk/attach/attachments.js';
import { findDevice } from '#sealdisk/attach/kernel-device.js';
import { controlPath, logPath, readState } from '#sealdisk/attach/state.js';
import { isFailure } from '#sealdisk/errors.js';
import { kill, newDisk, nothingRemains, processesOf, requestFor, run, status, until } from './rig.js';

const disk = await newDisk();
const folder = dirname(logPath(disk.uuid));
const server = () => processesOf(disk).servers[0]?.pid;
const supervisor = () => processesOf(disk).supervisor?.pid;

/** The points at which something is killed, in the order in which an attach reaches them. */
const POINTS = {
  'its folder is made': () => existsSync(folder),
  'its server is started': () => server() !== undefined,
  'its device is configured': () => findDevice(disk.uuid) !== undefined,
  'its control socket is there': () => existsSync(controlPath(disk.uuid)),
  'its state is recorded': () => readState(disk.uuid) !== undefined,
};

/** Tries again as a user does: what is attached after all is detached first. */
async function secondTry(): Promise<string> {
  const again = () => attach(requestFor(disk)).then((state) => state.device ?? '');
  try {
    return await until('the lock of what was killed', () =>
      again().catch((error) => {
        // Its processes are just ending.
        if (isFailure(error, 'ATTACH_ALREADY', 'DISK_IN_USE') && !server()) return undefined;
        throw error;
      }),
    );
  } catch (error) {
    if (!isFailure(error, 'ATTACH_ALREADY')) throw error;
    await detach(disk.path, false);
    return again();
  }
}

async function cleansUp(): Promise<void> {
  const device = await secondTry();
  run('dd', `if=${device}`, 'of=/dev/null', 'iflag=direct', 'bs=4096', 'count=1', 'status=none');
  await detach(device, false);
}

/** How an attach ended whose process was killed: the kill may come after the outcome, and must clean up all the same. */
const outcome = () =>
  attach(requestFor(disk)).then(
    () => 'attached',
    (error) => (isFailure(error) ? error.code : `${error}`),
  );
const OUTCOMES = /^(ATTACH_SERVER_DIED|attached)$/;

const reached = (point: keyof typeof POINTS) => until(point, POINTS[point]);

t.test('the command, when its device is configured: the attachment comes to be without it', async (t) => {
  const command: ChildProcess = spawn(process.execPath, ['dist/bin/sealdisk.cjs', 'attach', disk.path], {
    stdio: 'ignore',
  });
  await reached('its device is configured');
  command.kill('SIGKILL');
  await once(command, 'exit');
  await reached('its state is recorded');
  await cleansUp();
  await nothingRemains(t);
});

t.test('the supervisor, when its folder is made', async (t) => {
  const ended = outcome();
  await reached('its folder is made');
  await kill(await until('the supervisor', supervisor));
  t.match(await ended, OUTCOMES);
  await cleansUp();
  await nothingRemains(t);
});

for (const point of ['its server is started', 'its control socket is there'] as const) {
  t.test(`the server, when ${point}`, async (t) => {
    const ended = outcome();
    await reached(point);
    await kill(await until('the server', server));
    t.match(await ended, OUTCOMES);
    if ((await ended) === 'attached') {
      await until('the server that replaces it', () => status(disk));
      await detach(disk.path, false);
    }
    // The next attach of the disk is the next test.
    await nothingRemains(t);
  });
}

t.test('all of it, when its device is configured: detach alone takes the device away', async (t) => {
  const ended = outcome();
  await reached('its device is configured');
  for (const { pid } of processesOf(disk).all) process.kill(pid, 'SIGKILL');
  t.match(await ended, OUTCOMES);
  await until('all processes to be gone', () => processesOf(disk).all.length === 0);
  await detach(disk.path, false);
  await nothingRemains(t);
});
