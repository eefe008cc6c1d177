/**
 * Whole connections, from the first byte of the handshake into the transmission, against a server with its engine.
 *
 * Whatever comes, a connection ends for its own mistake and by a code of the catalogue, the server serves the next one, no
 * byte of another export changes, and nothing is kept. `SEED=n FUZZ_INPUTS=count` replays; the seed is printed.
 */

import { mkdirSync, readdirSync } from 'node:fs';
import { connect as connectTo } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type ConnectionEnd, type EngineDisk, engine } from '#sealdisk/engine/engine.js';
import type { SealdiskError } from '#sealdisk/errors.js';
import { type ServerEvent, startServer, type TransmitArgs } from '#sealdisk/nbd/server.js';
import { diskFile, eventually, SIZE } from '../engine/rig.js';
import { nbdsh, tempDir } from '../nbd/rig.js';
import { disk as described } from '../nbd/wire.js';
import { FUZZED, type FuzzedClient, fuzzedClient } from './nbd-client.js';
import { Random } from './random.js';

const seed = Number(process.env.SEED ?? Date.now() % 0x7fffffff);
const inputs = Number(process.env.FUZZ_INPUTS ?? 400);
const AT_ONCE = 16;
const CLIENT_MS = 20_000;

t.setTimeout(60_000 + inputs * 100);

interface Rig {
  readonly path: string;
  readonly events: ServerEvent[];
  readonly ends: ConnectionEnd[];
  readonly disks: readonly EngineDisk[];
}

function openDisk(t: Test, dir: string, name: string): EngineDisk {
  mkdirSync(join(dir, name));
  const disk = engine().openDisk({ ...diskFile(join(dir, name)), holes: true, discard: true });
  disk.goLive(engine().takeDataKey(Buffer.alloc(64, name)));
  t.teardown(() => disk.close());
  return disk;
}

async function startRig(t: Test): Promise<Rig> {
  const dir = tempDir(t);
  const names = [FUZZED, 'quiet'];
  const disks = new Map(names.map((name) => [name, openDisk(t, dir, name)]));
  const events: ServerEvent[] = [];
  const ends: ConnectionEnd[] = [];
  const transmit = ({ fd, rest, negotiated }: TransmitArgs) => {
    const { replies, contexts, exportName } = negotiated;
    const allocation = contexts.get('base:allocation');
    const keyState = contexts.get('sealdisk:key-state');
    const ids = { ...(allocation && { allocation }), ...(keyState && { keyState }) };
    const disk = disks.get(exportName) as EngineDisk;
    const connection = disk.serve({ fd, rest, readOnly: false, replies, contexts: ids });
    void connection.ended.then((end) => ends.push(end));
    return connection;
  };
  const path = join(dir, 'socket');
  const server = await startServer({
    listen: { path },
    exports: () => names.map((name) => ({ ...described, name, sizeBytes: BigInt(SIZE) })),
    transmit,
    replies: 'extended',
    onEvent: (event) => events.push(event),
  });
  t.teardown(() => server.close());
  return { path, events, ends, disks: [...disks.values()] };
}

/** Resolves when the client has lost its connection, or dropped it. */
function play(path: string, { pieces, hearsBytes = Infinity }: FuzzedClient, itsSeed: number): Promise<void> {
  const socket = connectTo({ path });
  socket.on('error', () => {}); // the server may close while it speaks
  let heardBytes = 0;
  socket.on('data', (said) => {
    heardBytes += said.length;
    if (heardBytes >= hearsBytes) socket.destroy();
  });
  for (const piece of pieces) socket.write(piece);
  socket.end();
  return new Promise((resolve, reject) => {
    const late = () => reject(new Error(`SEED=${itsSeed} FUZZ_INPUTS=1: it is not let go`));
    const timer = setTimeout(late, CLIENT_MS);
    socket.once('close', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

const over = (events: readonly ServerEvent[]): boolean => {
  const count = (...kinds: string[]) => events.filter(({ kind }) => kinds.includes(kind)).length;
  return count('connected') === count('closed', 'ended');
};

/** How many descriptors and threads this process has. */
const held = () => ({
  descriptors: readdirSync('/proc/self/fd').length,
  threads: readdirSync('/proc/self/task').length,
});

/** A client that nobody here wrote, on the export that nobody fuzzes: what it reads, or what it says of a failure. */
const goodClient = async (path: string, ...lines: string[]): Promise<string> => {
  const open = `h.connect_uri("nbd+unix:///quiet?socket=${path}")`;
  const { code, out, err } = await nbdsh(open, ...lines, 'h.shutdown()');
  return code === 0 ? out.trim() : `${code}: ${err}`;
};

const DIGEST = `import hashlib; print(hashlib.sha256(h.pread(${SIZE}, 0)).hexdigest())`;

function expectVariety(t: Test, { events, ends }: Rig): void {
  const modes = new Set<string>();
  for (const event of events) {
    if (event.kind !== 'transmitting') continue;
    const { replies, contexts } = event.negotiated;
    modes.add(contexts.size > 0 ? `${replies} with contexts` : replies);
  }
  const all = ['simple', 'structured', 'structured with contexts', 'extended', 'extended with contexts'];
  t.same([...modes].sort(), all.sort(), 'the transmission was reached in every mode');
  const reasons = new Set(ends.map(({ reason }) => reason));
  for (const reason of ['disconnect', 'eof', 'protocol'] as const) t.ok(reasons.has(reason), reason);
}

t.test(`whole connections of any kind, SEED=${seed} FUZZ_INPUTS=${inputs}`, async (t) => {
  const rig = await startRig(t);
  const { path, events, disks } = rig;
  const before = await goodClient(path, `h.pwrite(b"quiet..." * ${SIZE / 8}, 0)`, DIGEST);
  t.match(before, /^[0-9a-f]{64}$/);
  await eventually(() => over(events));
  const atRest = held();

  for (let begun = 0; begun < inputs; begun += AT_ONCE) {
    const seeds = Array.from({ length: Math.min(AT_ONCE, inputs - begun) }, (_, i) => seed + begun + i);
    await Promise.all(seeds.map((one) => play(path, fuzzedClient(new Random(one), SIZE), one)));
  }

  await eventually(() => over(events));
  const idle = { connections: 0, parked: 0, inFlight: 0 };
  for (const disk of disks) t.match(disk.stats(), idle, 'the engine counts nothing that is gone');
  const back = () => JSON.stringify(held()) === JSON.stringify(atRest);
  await eventually(back).catch(() => {});
  t.same(held(), atRest, 'descriptors and threads are given back');
  const codes = events.flatMap((event) => ('error' in event ? [(event.error as SealdiskError).code] : []));
  const others = codes.filter((code) => code !== 'NBD_PROTOCOL');
  t.same(others, [], 'each connection ended by its own mistake');
  t.equal(await goodClient(path, DIGEST), before, 'the other export is served, and as it was');
  if (inputs >= 300) expectVariety(t, rig);
  t.comment(`${rig.ends.length - 2} reached the transmission, ${codes.length} broke the handshake`);
});
