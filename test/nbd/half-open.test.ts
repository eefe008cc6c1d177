/** A thousand clients that never finish a handshake, against a server with its own limits. */

import { once } from 'node:events';
import { connect } from 'node:net';
import t from 'tap';
import { DEFAULT_LIMITS } from '#sealdisk/nbd/limits.js';
import type { ServerEvent } from '#sealdisk/nbd/server.js';
import { rawClient, run, startRig } from './rig.js';
import { clientFlags, disk, goData, option } from './wire.js';

const CLIENTS = 1000;
const AT_ONCE = 100; // the kernel refuses connections beyond the backlog
const FIXED = clientFlags(3);

const count = (events: readonly ServerEvent[], kind: ServerEvent['kind']): number =>
  events.filter((event) => event.kind === kind).length;

/** The most connections that stood at once, and whether each refusal came with the server full. */
function walk(events: readonly ServerEvent[]): { most: number; fullAtRefusals: boolean } {
  let [open, most, fullAtRefusals] = [0, 0, true];
  for (const { kind } of events) {
    if (kind === 'connected') open += 1;
    if (kind === 'closed' || kind === 'ended') open -= 1;
    if (kind === 'refused') fullAtRefusals &&= open === DEFAULT_LIMITS.connectionsMax;
    most = Math.max(most, open);
  }
  return { most, fullAtRefusals };
}

/** Begins a handshake, cut within an option; resolves when the server has greeted or refused it. */
function halfOpen(path: string): Promise<void> {
  const socket = connect({ path });
  socket.on('error', () => {}); // refused while it speaks
  socket.write(Buffer.concat([FIXED, option(6, goData('disk')).subarray(0, 20)]));
  return new Promise((resolve) => {
    socket.once('data', () => resolve());
    socket.once('close', () => resolve());
  });
}

t.test('a thousand half-open handshakes take the free places for their time, and nothing else', async (t) => {
  const rig = await startRig(t, { limits: { handshakeMs: 2000 } });
  const served = await rawClient(rig.path);
  served.socket.write(Buffer.concat([FIXED, option(7, goData('disk'))]));
  await rig.event('transmitting');

  for (let begun = 0; begun < CLIENTS; begun += AT_ONCE) {
    await Promise.all(Array.from({ length: AT_ONCE }, () => halfOpen(rig.path)));
  }
  t.equal(count(rig.events, 'connected') + count(rig.events, 'refused'), CLIENTS + 1);

  const read = Buffer.alloc(28);
  read.writeUInt32BE(0x25609513, 0);
  read.writeUInt32BE(512, 24);
  const before = served.said().length;
  served.socket.write(read);
  while (served.said().length < before + 16 + 512) await once(served.socket, 'data');
  t.pass('the transmission that stood is served');

  await rig.event('closed', count(rig.events, 'connected') - 1);
  const timeouts = rig.events.filter((event) => event.kind === 'closed');
  t.ok(timeouts.every(({ error }) => (error as { code: string }).code === 'NBD_HANDSHAKE_TIMEOUT'));
  const { most, fullAtRefusals } = walk(rig.events);
  t.equal(most, DEFAULT_LIMITS.connectionsMax);
  t.ok(fullAtRefusals, 'none is refused while there is room');
  t.ok(count(rig.events, 'refused') > 0);
  t.match(await run('nbdinfo', '--size', rig.uri), { code: 0, out: `${disk.sizeBytes}\n` });
  served.socket.destroy();
});
