/**
 * A hundred disks in one process under a key of our own network face, which is killed with -9 and started again on its
 * port while each of them writes: for less than the grace nothing stops, for longer all hang, and nothing is lost.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t from 'tap';
import { createDisk } from '#sealdisk/disk/create.js';
import { KeyChecks } from '#sealdisk/disk/key-checks.js';
import { readDisk } from '#sealdisk/disk/read.js';
import { ServedDisk, type ServedDiskStatus } from '#sealdisk/disk/served-disk.js';
import { engine } from '#sealdisk/engine/engine.js';
import { AccessKeys } from '#sealdisk/kms/local/access-keys.js';
import { LocalKms } from '#sealdisk/kms/local/local-kms.js';
import type { KeyProvider } from '#sealdisk/kms/provider.js';
import { openProvider } from '#sealdisk/kms/registry.js';
import { MAIN } from '../cli/rig.js';
import { RawClient } from '../engine/raw-client.js';
import { environmentOf } from '../kms/face.js';
import { tempPool, until } from '../kms/pool.js';
import { SILENT, TIMEOUT_MS } from './rig.js';

t.setTimeout(110_000);

const DISKS = 100;
const BLOCK = 4096;
/** Written in turn, so that as many of the last writes can be compared. */
const BLOCKS = 8;
const LONG_GRACE_MS = 60_000;
const SHORT_GRACE_MS = 500;

const pool = await tempPool(t);
const kms = LocalKms.open(join(pool, 'kms'));
await kms.createKey({ alias: 'alias/bar' });
const accessKey = await new AccessKeys(join(pool, 'kms')).create({ name: 'test' });
Object.assign(process.env, environmentOf(accessKey), { AWS_EC2_METADATA_DISABLED: 'true' });

/** `sealdisk kms serve` at `port`, when it is ready; 0 takes a free one. */
async function startFace(port: string): Promise<{ child: ChildProcess; port: string }> {
  const words = ['kms', 'serve', '--listen', `127.0.0.1:${port}`, '--pool', pool, '--rate-limit', '100000'];
  const child = spawn(process.execPath, [MAIN, ...words], { stdio: ['ignore', 'pipe', 'ignore'] });
  t.teardown(() => child.kill('SIGKILL'));
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  return { child, port: /:(\d+)/.exec(line)?.[1] ?? line };
}

async function kill({ child }: { child: ChildProcess }): Promise<void> {
  child.kill('SIGKILL');
  await once(child, 'exit');
}

let face = await startFace('0');
const uri = `awskms:///alias/bar?region=eu-central-1&endpoint=http://127.0.0.1:${face.port}`;
/** Of all disks; a KMS may take long to start on a machine that is busy with their writes. */
const terms = { onKeyLoss: 'hang' as const, checkIntervalMs: 200, graceMs: LONG_GRACE_MS };
const options = {
  terms,
  readOnly: false,
  direct: false,
  discard: false,
  kmsWaitMs: TIMEOUT_MS,
  takeover: false,
} as const;
const checks = new KeyChecks();

/** When the first of the questions was asked that failed. */
let silentFromMs = Number.POSITIVE_INFINITY;

async function provider(): Promise<KeyProvider> {
  const opened = await openProvider(uri, { poolDir: pool, env: process.env });
  const describe = opened.describeKey.bind(opened);
  opened.describeKey = (...args) => {
    const askedMs = performance.now();
    return describe(...args).catch((error) => {
      silentFromMs = Math.min(silentFromMs, askedMs);
      throw error;
    });
  };
  return opened;
}

const block = (disk: number, round: number): Buffer => Buffer.alloc(BLOCK, `disk ${disk} round ${round}\n`);

/** A disk and the one client that writes to it. */
class LoadedDisk {
  /** Writes that were answered. */
  rounds = 0;
  #loaded = false;

  private constructor(
    private readonly number: number,
    readonly served: ServedDisk,
    private readonly client: RawClient,
  ) {}

  static async serve(number: number): Promise<LoadedDisk> {
    const path = join(pool, `d${number}`);
    const disk = {
      path,
      sizeBytes: 1n << 20n,
      sectorSize: 4096,
      name: '',
      tags: {},
      discard: false,
    } as const;
    const keys = await provider();
    await createDisk(disk, keys, TIMEOUT_MS);
    const served = await ServedDisk.open(await readDisk(path), keys, options, SILENT, undefined, checks);
    const [ours, theirs] = engine().socketPair();
    served.engineDisk.serve({ fd: ours, readOnly: false });
    engine().closeFd(ours);
    return new LoadedDisk(number, served, new RawClient(theirs));
  }

  get waits(): boolean {
    return this.served.engineDisk.stats().parked === 1;
  }

  /** Writes one block after the other until `stop`; ends when the last one is answered, and throws when one fails. */
  async load(): Promise<void> {
    this.#loaded = true;
    while (this.#loaded) {
      const { number, rounds } = this;
      const errno = await this.client.write((rounds % BLOCKS) * BLOCK, block(number, rounds));
      if (errno !== 0) throw new Error(`disk ${number}, round ${rounds}: errno ${errno}`);
      this.rounds++;
    }
  }

  stop(): void {
    this.#loaded = false;
  }

  /** Whether the last writes are there. */
  async keptAll(): Promise<boolean> {
    for (let round = this.rounds - BLOCKS; round < this.rounds; round++) {
      const read = await this.client.read((round % BLOCKS) * BLOCK, BLOCK);
      if (!read.equals(block(this.number, round))) return false;
    }
    return this.rounds >= BLOCKS;
  }

  async close(): Promise<void> {
    this.client.destroy();
    await this.served.close();
  }
}

t.test(
  'a KMS killed and started again under load stops none in its grace, and loses nothing after it',
  async (t) => {
    const all = await Promise.all(Array.from({ length: DISKS }, (_, i) => LoadedDisk.serve(i)));
    const every = (holds: (status: ServedDiskStatus) => boolean) => () =>
      all.every(({ served }) => holds(served.status));
    const live = every(({ gate }) => gate === 'live');
    const hung = every(({ gate }) => gate === 'hung');
    const silent = every(({ reason }) => reason !== '' && !reason.endsWith('is disabled'));
    const heard = every(({ reason }) => reason === '');
    const disabled = every(({ reason }) => reason.endsWith('is disabled'));
    const waiting = () => all.every((disk) => disk.waits);
    const load = Promise.all(all.map((disk) => disk.load()));

    await kill(face);
    await until('all notice', silent);
    face = await startFace(face.port);
    await until('all hear it again', heard);
    t.ok(live(), 'nobody decided');
    const rounds = all.map((disk) => disk.rounds);
    await until('all write on', () => all.every((disk, i) => disk.rounds > (rounds[i] ?? 0)));

    terms.graceMs = SHORT_GRACE_MS;
    silentFromMs = Number.POSITIVE_INFINITY;
    await kill(face);
    await until('the grace ends', hung);
    t.ok(performance.now() - silentFromMs >= SHORT_GRACE_MS, 'for none before its time');
    await until('all wait', waiting);
    face = await startFace(face.port);
    const backMs = performance.now();
    await until('all go on', live);
    t.comment(`all live ${(performance.now() - backMs).toFixed(0)} ms after the KMS was back`);

    await kms.disableKey('alias/bar');
    await until('all hang', hung);
    await until('all wait again', waiting);
    await kill(face);
    await until('all notice again', silent);
    face = await startFace(face.port);
    await until('all hear of the decision', disabled);
    t.ok(hung(), 'which a restart does not forget');
    await kms.enableKey('alias/bar');
    await until('all go on again', live);

    for (const disk of all) disk.stop();
    await load;
    const kept = await Promise.all(all.map((disk) => disk.keptAll()));
    t.same(new Set(kept), new Set([true]), 'every write is there');
    t.comment(`${all.reduce((sum, disk) => sum + disk.rounds, 0)} writes`);
    await Promise.all(all.map((disk) => disk.close()));
  },
);
