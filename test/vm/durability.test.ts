/**
 * Power is lost at every point: dm-log-writes records under the disk what became stable and when, and every prefix of the
 * record is an image that the plug could have left. Each is opened with the engine: what a completed FLUSH or FUA covers is
 * there, and no piece holds anything but a write that was made to it.
 *
 * The disk lies straight on the recorded device, so that a FLUSH of the engine is a FLUSH in the record and nothing else
 * is (a file system would add its own). Besides the prefixes: within the writes of one FLUSH any subset may be stored, and
 * a write may be cut after any sector. SEED=n replays a load, SEALDISK_CRASH_ROUNDS makes it longer.
 */

import { randomInt } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import t, { type Test } from 'tap';
import { engine } from '#sealdisk/engine/engine.js';
import { Random } from '../fuzz/random.js';
import { NbdClient } from './crash-client.js';
import { CrashLoad } from './crash-load.js';
import { CrashModel, PIECE_BYTES } from './crash-model.js';
import { loopDevice, MappedDevice, MIB } from './devices.js';
import { newDisk, run } from './rig.js';
import { openServed } from './serve-here.js';
import { type LogEntry, readLog } from './write-log.js';

t.setTimeout(550_000);
const ROUNDS = Number(process.env.SEALDISK_CRASH_ROUNDS ?? 6);
const SEED = Number(process.env.SEED ?? randomInt(2 ** 31));
const DATA_BYTES = MIB;
const HEADER_BYTES = 16 * MIB;
const FILE_BYTES = HEADER_BYTES + DATA_BYTES;
const LOG_BYTES_PER_ROUND = 8 * MIB;

t.comment(`SEED=${SEED}`);
run('modprobe', 'dm-log-writes');

async function clientsOf(t: Test, path: string, count: number, direct: boolean, readOnly = false) {
  const served = await openServed(path, direct, readOnly);
  const clients = Array.from({ length: count }, () => {
    const [ours, theirs] = engine().socketPair();
    served.engineDisk.serve({ fd: ours, readOnly });
    engine().closeFd(ours);
    return new NbdClient(theirs);
  });
  const close = async () => {
    for (const client of clients) client.destroy();
    await served.close();
  };
  t.teardown(close);
  return { clients, close };
}

/** Runs the load on a recorded device. The model of what it promised, and the record. */
async function record(t: Test, plain: string, random: Random, direct: boolean) {
  const log = loopDevice(t, ROUNDS * LOG_BYTES_PER_ROUND + 8 * MIB);
  const device = new MappedDevice(t, FILE_BYTES, `log-writes ${plain} ${log}`);
  const model = new CrashModel(DATA_BYTES / PIECE_BYTES);
  const { clients, close } = await clientsOf(t, device.path, 2, direct);
  const load = new CrashLoad(model, clients, random);
  const mark = () => device.message('mark', `promise-${model.mark()}`);
  await load.fill();
  mark();
  for (let round = 0; round < ROUNDS; round++) {
    await load.round();
    mark();
  }
  await load.settle();
  mark();
  await close();
  device.remove();
  return { model, entries: readLog(log), counts: load.counts };
}

/** An image that grows by the record, looked at through the engine. */
class Replay {
  readonly #fd: number;
  #mark = 0;
  points = 0;

  constructor(
    t: Test,
    path: string,
    private readonly reader: NbdClient,
    private readonly model: CrashModel,
  ) {
    this.#fd = openSync(path, 'r+');
    t.teardown(() => closeSync(this.#fd));
  }

  apply(entry: LogEntry, bytes?: number): void {
    if (entry.kind === 'write') writeSync(this.#fd, entry.data, 0, bytes ?? entry.data.length, entry.offset);
    if (entry.kind === 'mark') this.#mark = Number(/^promise-(\d+)$/.exec(entry.text)?.[1] ?? this.#mark);
  }

  /** The plug is pulled here: what `changed` since the last look is looked at, or all of it. */
  async crash(where: string, changed: readonly LogEntry[] | 'all'): Promise<void> {
    if (this.#mark === 0) return; // the first data is not there yet
    this.points++;
    if (changed === 'all') return this.#look(where, 0, DATA_BYTES);
    for (const entry of changed) {
      if (entry.kind === 'write') await this.#look(where, entry.offset - HEADER_BYTES, entry.data.length);
    }
  }

  async #look(where: string, offset: number, bytes: number): Promise<void> {
    const wrong = this.model.wrong(await this.reader.read(offset, bytes), offset / PIECE_BYTES, this.#mark);
    if (wrong) throw new Error(`crash ${where} after promise ${this.#mark}: ${wrong}`);
  }
}

/** Entries up to the next one that orders them: of these writes any may be stored when the power goes. */
function unordered(entries: readonly LogEntry[], from: number): LogEntry[] {
  const end = entries.findIndex((entry, i) => i >= from && !(entry.kind === 'write' && !entry.fua));
  return entries.slice(from, end);
}

async function crashEverywhere(replay: Replay, entries: readonly LogEntry[], random: Random): Promise<void> {
  for (const [i, entry] of entries.entries()) {
    if (entry.kind !== 'write' && entries[i + 1]?.kind === 'write') {
      const some = unordered(entries, i + 1).filter(() => random.chance(0.5));
      replay.apply(entry);
      for (const one of some) replay.apply(one);
      await replay.crash(`with ${some.length} of the writes after entry ${i}`, some);
    }
    if (entry.kind === 'write' && random.chance(0.3)) {
      const sectors = random.below(entry.data.length / PIECE_BYTES);
      replay.apply(entry, sectors * PIECE_BYTES);
      await replay.crash(`inside entry ${i}, after ${sectors} sectors`, [entry]);
    }
    replay.apply(entry);
    await replay.crash(`after entry ${i} (${entry.kind})`, entry.kind === 'write' ? [entry] : 'all');
  }
}

for (const direct of [false, true]) {
  const how = direct ? 'with --direct' : 'through the page cache';
  t.test(
    `a crash at every point, ${how}: what FLUSH and FUA promised is there, and never noise`,
    async (t) => {
      const random = new Random(SEED + Number(direct));
      const disk = await newDisk(4096, BigInt(DATA_BYTES));
      const plain = loopDevice(t, FILE_BYTES);
      run('dd', `if=${disk.path}`, `of=${plain}`, 'bs=1M', 'conv=fsync', 'status=none');
      const { model, entries, counts } = await record(t, plain, random, direct);
      const flushes = entries.filter(({ kind }) => kind === 'flush').length;

      // The file that the disk was made as is still as the device was before the load.
      const { clients } = await clientsOf(t, disk.path, 1, false, true);
      const replay = new Replay(t, disk.path, clients[0] as NbdClient, model);
      await crashEverywhere(replay, entries, random);
      t.comment(
        `${JSON.stringify(counts)}; record: ${entries.length} entries, ${flushes} FLUSHes; crash points: ${replay.points}`,
      );
      t.equal(model.marks, ROUNDS + 2);
      t.ok(flushes >= ROUNDS, 'each FLUSH reached the device');
      t.ok(replay.points > 4 * ROUNDS, `${replay.points} crash points`);
    },
  );
}
