/** A serving process among a thousand clients that never finish a handshake: its memory, its places, its log. */

import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import t from 'tap';
import { rig as openRig, run } from '../cli/rig.js';
import { clientFlags, goData, option } from '../nbd/wire.js';

const CLIENTS = 1000;
const AT_ONCE = 100; // the kernel refuses connections beyond the backlog
const PLACES = 64;
const HANDSHAKE_MS = 2000;
/** Beside their handshake, for a machine that is busy with other things. */
const LATE_MS = 20_000;
/** More after the second thousand than after the first: what a collector has not got round to. */
const GROWTH_MAX_BYTES = 16 << 20;
/** As long as the server reads it, but for its last byte: whoever is kept is seen. */
const HALF = Buffer.concat([clientFlags(3), option(10, goData('x'.repeat(4096), Array(5000).fill(3)))]);

t.setTimeout(170_000);

const residentBytes = (pid: number): number => {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kib) * 1024;
};

interface HalfOpen {
  /** The server has greeted it, or refused it. */
  readonly met: Promise<void>;
  /** How long it was let be. */
  readonly goneMs: Promise<number>;
}

function halfOpen(path: string): HalfOpen {
  const begunMs = performance.now();
  const socket = connect({ path });
  socket.on('error', () => {}); // refused while it speaks
  socket.write(HALF.subarray(0, -1));
  return {
    met: new Promise((resolve) => {
      socket.once('data', () => resolve());
      socket.once('close', () => resolve());
    }),
    goneMs: new Promise((resolve) => socket.once('close', () => resolve(performance.now() - begunMs))),
  };
}

/** Begins all, a hundred at a time; how long each was let be. */
async function besiege(path: string): Promise<number[]> {
  const all: HalfOpen[] = [];
  while (all.length < CLIENTS) {
    const some = Array.from({ length: AT_ONCE }, () => halfOpen(path));
    all.push(...some);
    await Promise.all(some.map(({ met }) => met));
  }
  return Promise.all(all.map(({ goneMs }) => goneMs));
}

t.test(
  'a thousand half-open handshakes cost a server no memory, and their places for their time',
  async (t) => {
    const rig = openRig(t);
    const words = [
      '--socket',
      rig.at('s'),
      '--handshake-timeout',
      `${HANDSHAKE_MS}ms`,
      '--log-level',
      'debug',
    ];
    const server = await rig.serve(await rig.disk('data'), ...words);
    await besiege(rig.at('s'));
    const beforeBytes = residentBytes(server.pid);
    const timesMs = await besiege(rig.at('s'));
    const grownBytes = residentBytes(server.pid) - beforeBytes;
    t.ok(grownBytes <= GROWTH_MAX_BYTES, `${grownBytes} bytes more than after the first thousand`);
    const longestMs = Math.round(Math.max(...timesMs));
    t.ok(longestMs < HANDSHAKE_MS + LATE_MS, `the last was let be for ${longestMs} ms`);

    const io = ['-f', 'raw', '-c', 'write -P 7 0 1M', '-c', 'read -P 7 0 1M', server.uri];
    t.match(await run('qemu-io', io), { code: 0, out: /read 1048576/ }, 'a good client has its place');

    const { code, log } = await server.stop();
    t.equal(code, 0);
    const count = (text: string): number => log.split(text).length - 1;
    const [refused, timedOut] = [count('"kind":"refused"'), count('"code":"NBD_HANDSHAKE_TIMEOUT"')];
    t.equal(refused + timedOut, 2 * CLIENTS, 'each of them is in the log, refused or timed out');
    t.ok(refused > 0 && timedOut >= 2 * PLACES, `${refused} refused, ${timedOut} timed out`);
  },
);
