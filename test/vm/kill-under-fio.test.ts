/**
 * The server is killed again and again under a mounted ext4 on which fio writes and verifies: the server that stands by
 * takes the device over each time, no I/O fails, every acknowledged record is there, fsck finds a clean file system.
 *
 * In the first half of the kills everybody syncs. In the second nobody does, so that what is lost is not hidden by a FLUSH:
 * a write that was acknowledged must outlive the server without one.
 *
 * SEALDISK_KILLS is how often (2); SEED=n replays the moments: after how many sectors of writing each kill comes.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { Random } from '../fuzz/random.js';
import { firstWrong, Writer } from './records.js';
import {
  attached,
  DEADLINE_MS,
  fsck,
  gateIs,
  isLoaded,
  kill,
  mount,
  mountNew,
  newDisk,
  nothingRemains,
  processesOf,
  run,
  status,
  umount,
  until,
  watchKernel,
} from './rig.js';

const KILLS = Number(process.env.SEALDISK_KILLS ?? 2);
const SEED = Number(process.env.SEED ?? randomInt(2 ** 31));
const PATIENCE_MS = DEADLINE_MS * (1 + KILLS);
const SECTORS_MAX = 2048;
const FIO = [
  ...['--name=kill', '--size=4M', '--rw=randwrite', '--bsrange=4k-32k', '--ioengine=psync', '--direct=1'],
  ...[
    '--verify=crc32c',
    '--verify_fatal=1',
    '--do_verify=1',
    '--verify_state_save=0',
    '--randrepeat=0',
    '--thread',
  ],
];

t.setTimeout(PATIENCE_MS);
t.comment(`SEED=${SEED}`);
const random = new Random(SEED);
/** Room for what the second program appends between two kills. */
const disk = await newDisk(4096, BigInt(48 + 4 * KILLS) << 20n);

/** fio again and again, each time writing all of its file and reading all of it back, until it is told to stop. */
class Verified {
  rounds = 0;
  #stopped = false;
  #child: ChildProcess | undefined;
  readonly #ended: Promise<void>;

  constructor(t: Test, ...options: string[]) {
    this.#ended = this.#run(options);
    t.teardown(() => this.#kill());
    this.#ended.catch(() => {}); // heard at stop()
  }

  stop(): Promise<void> {
    this.#stopped = true;
    return this.#ended;
  }

  #kill(): void {
    this.#stopped = true;
    this.#child?.kill('SIGKILL');
  }

  async #run(options: string[]): Promise<void> {
    while (!this.#stopped) {
      this.#child = spawn('fio', [...FIO, ...options], { stdio: ['ignore', 'pipe', 'pipe'] });
      let said = '';
      for (const stream of [this.#child.stdout, this.#child.stderr]) {
        stream?.setEncoding('utf8').on('data', (text: string) => {
          said += text;
        });
      }
      const [code] = await once(this.#child, 'close');
      if (code !== 0) throw new Error(`fio ended with ${code}: ${said}`);
      this.rounds++;
    }
  }
}

/** What the device has done so far (Documentation/block/stat.rst of the kernel). */
function doneBy(index: number): { requests: number; sectorsWritten: number } {
  const fields = readFileSync(`/sys/block/nbd${index}/stat`, 'utf8').trim().split(/\s+/).map(Number);
  return { requests: (fields[0] ?? 0) + (fields[4] ?? 0), sectorsWritten: fields[6] ?? 0 };
}

/** Kills the server at a moment of the seed; how long until the device has done a request again. */
async function killOnce(index: number): Promise<number> {
  const { serverPid } = await gateIs(disk, 'live');
  await until('a server that stands by', () => {
    const pid = processesOf(disk, serverPid).standby?.pid;
    return pid !== undefined && isLoaded(pid);
  });
  const goal = doneBy(index).sectorsWritten + random.below(SECTORS_MAX);
  await until('the moment of the kill', () => doneBy(index).sectorsWritten >= goal);
  await kill(serverPid);
  const before = doneBy(index).requests;
  const startedMs = performance.now();
  await until('a request to be done', () => doneBy(index).requests > before);
  const resumedMs = performance.now() - startedMs;
  await until('another server', async () => ((await status(disk))?.serverPid ?? serverPid) !== serverPid);
  return resumedMs;
}

interface Kills {
  readonly resumedMs: number[];
  /** Whole rounds of fio, each written and read back. */
  readonly rounds: number;
}

/** Half of the kills, under fio with these options and what `afterEach` waits for. */
async function halfOfTheKills(
  t: Test,
  index: number,
  options: string[],
  afterEach: () => Promise<void> = async () => {},
): Promise<Kills> {
  const fio = new Verified(t, ...options);
  const resumedMs: number[] = [];
  for (let n = 0; n < KILLS / 2; n++) {
    // The kernel's log is too short for all of it.
    const complaints = watchKernel();
    resumedMs.push(await killOnce(index));
    await afterEach();
    const errors = complaints();
    if (errors.length > 0) throw new Error(`kill ${n + 1}: ${errors.join('\n')}`);
  }
  await fio.stop();
  t.ok(fio.rounds > 0, 'fio read back what it wrote');
  return { resumedMs, rounds: fio.rounds };
}

const summary = ({ resumedMs, rounds }: Kills): string => {
  const sorted = resumedMs.map(Math.round).sort((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)];
  return `${sorted.length} kills in ${rounds} rounds of fio; I/O went on after ${median} ms (median), ${sorted.at(-1)} ms (longest)`;
};

await t.test(`${KILLS} kills of the server under verified fio`, async (t) => {
  const { device, index } = await attached(t, disk, { standby: true });
  const dir = mountNew(device);
  const file = `--directory=${dir}`;

  const writer = new Writer(t, `${dir}/records`);
  const synced = await halfOfTheKills(t, index, [file, '--fsync=16'], () => writer.advance(1));
  t.equal(await writer.stop(), 0, 'the writer met no error');
  t.comment(`all sync: ${summary(synced)}; ${writer.acknowledged} records`);
  t.comment(`nobody syncs: ${summary(await halfOfTheKills(t, index, [file]))}`);

  const complaints = watchKernel();
  umount(dir);
  fsck(device);
  mount(device);
  t.equal(firstWrong(`${dir}/records`, writer.acknowledged), 0, 'every acknowledged record is there');
  run('fio', ...FIO, file, '--verify_only');
  umount(dir);
  t.same(complaints(), [], 'the kernel saw no error');
});

t.test('at the end nothing of these attachments remains', (t) => nothingRemains(t));
