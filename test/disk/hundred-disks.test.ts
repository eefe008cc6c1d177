/**
 * A hundred disks under one key in one process: the key goes and comes back, the KMS goes and comes back, and every disk
 * ends as it should with every write that was acknowledged, and every one that waited.
 */

import { renameSync } from 'node:fs';
import t from 'tap';
import { KeyChecks } from '#sealdisk/disk/key-checks.js';
import type { DiskDescription } from '#sealdisk/disk/read.js';
import { ServedDisk } from '#sealdisk/disk/served-disk.js';
import { engine, type GateState } from '#sealdisk/engine/engine.js';
import { canWatch, type KeyProvider } from '#sealdisk/kms/provider.js';
import { CMD, RawClient } from '../engine/raw-client.js';
import { until } from '../kms/pool.js';
import { diskRig, SILENT } from './rig.js';

t.setTimeout(110_000);

const DISKS = 100;
const BLOCK = 4096;
const CHECK_MS = 100;

const rig = await diskRig(t);
let questions = 0;

/** When the first question was asked that failed: it may have been under way when its KMS went. */
let silentFromMs = Number.POSITIVE_INFINITY;

/** The provider, its questions counted; `watched` hears of changes, too. */
function counted(provider: KeyProvider, watched: boolean): KeyProvider {
  const watch = canWatch(provider) && watched ? { watch: provider.watch.bind(provider) } : {};
  return {
    keyUri: provider.keyUri,
    generateDataKey: (...args) => provider.generateDataKey(...args),
    unwrap: (...args) => provider.unwrap(...args),
    describeKey: (...args) => {
      questions++;
      const askedMs = performance.now();
      return provider.describeKey(...args).catch((error) => {
        silentFromMs = Math.min(silentFromMs, askedMs);
        throw error;
      });
    },
    close: () => provider.close(),
    ...watch,
  };
}

const disks: DiskDescription[] = [];
for (let i = 0; i < DISKS; i++) disks.push(await rig.create(`d${i}`));

async function serveAll(checkIntervalMs: number, watched: boolean, graceMs = 60_000) {
  const checks = new KeyChecks();
  const options = {
    terms: { onKeyLoss: 'hang', checkIntervalMs, graceMs },
    readOnly: false,
    direct: false,
    discard: false,
    kmsWaitMs: 10_000,
    takeover: false,
  } as const;
  const open = async (disk: DiskDescription) => {
    const provider = counted(await rig.provider(), watched);
    const served = await ServedDisk.open(disk, provider, options, SILENT, undefined, checks);
    const [ours, theirs] = engine().socketPair();
    served.engineDisk.serve({ fd: ours, readOnly: false });
    engine().closeFd(ours);
    return { served, client: new RawClient(theirs) };
  };
  const all = await Promise.all(disks.map(open));
  const gates = (gate: GateState): boolean => all.every(({ served }) => served.status.gate === gate);
  const close = async (): Promise<void> => {
    for (const { client } of all) client.destroy();
    await Promise.all(all.map(({ served }) => served.close()));
  };
  return { all, gates, close };
}

const block = (disk: number, round: number): Buffer => Buffer.alloc(BLOCK, `disk ${disk} round ${round}\n`);

t.test('told by the watch, all stop within 200 ms of the disable, and go on with what waited', async (t) => {
  const { all, gates, close } = await serveAll(600_000, true);
  const stops: number[] = [];
  for (let round = 0; round < 3; round++) {
    const written = await Promise.all(all.map(({ client }, i) => client.write(0, block(i, round))));
    t.same(new Set(written), new Set([0]));
    await rig.kms.disableKey('alias/bar');
    const disabledMs = performance.now();
    await until('all hang', () => gates('hung'));
    stops.push(performance.now() - disabledMs);
    for (const [i, { client }] of all.entries()) client.send(CMD.write, BLOCK, BLOCK, block(i, 100 + round));
    await until('all wait', () => all.every(({ served }) => served.engineDisk.stats().parked === 1));
    await rig.kms.enableKey('alias/bar');
    await until('all go on', () => gates('live'));
    t.same(
      new Set(await Promise.all(all.map(({ client }) => client.reply()))),
      new Set([0]),
      'what waited, too',
    );
    const right = all.map(async ({ client }, i) => {
      const first = await client.read(0, BLOCK);
      const second = await client.read(BLOCK, BLOCK);
      return first.equals(block(i, round)) && second.equals(block(i, 100 + round));
    });
    t.ok(
      (await Promise.all(right)).every((each) => each),
      'and all is there',
    );
  }
  t.comment(`from the disable to all ${DISKS} hung: ${stops.map((ms) => ms.toFixed(0)).join(', ')} ms`);
  t.ok(Math.min(...stops) < 200, 'where the machine has time for it');
  await close();
});

t.test('told by the checks, one question an interval serves them all', async (t) => {
  const { all, gates, close } = await serveAll(CHECK_MS, false);
  await until('their questions have become one', () => questions > DISKS + 20);
  const [begun, beganMs] = [questions, performance.now()];
  await until('some intervals pass', () => questions >= begun + 20);
  const intervals = (performance.now() - beganMs) / CHECK_MS;
  t.comment(`20 questions in ${intervals.toFixed(1)} intervals`);
  t.ok(intervals > 9, 'and not a hundred in each');
  await rig.kms.disableKey('alias/bar');
  await until('all hang', () => gates('hung'));
  t.ok(all.every(({ served }) => served.status.reason === 'key local:alias/bar is disabled'));
  await rig.kms.enableKey('alias/bar');
  await until('all go on', () => gates('live'));
  await close();
});

const away = (): void => renameSync(rig.at('kms'), rig.at('away'));
const back = (): void => renameSync(rig.at('away'), rig.at('kms'));

t.test('a KMS that is away for less than the grace stops none', async (t) => {
  const { all, gates, close } = await serveAll(CHECK_MS, false);
  away();
  await until('all notice', () => all.every(({ served }) => served.status.reason !== ''));
  t.ok(gates('live'), 'nobody decided');
  back();
  await until('all hear it again', () => all.every(({ served }) => served.status.reason === ''));
  t.ok(gates('live'));
  await close();
});

t.test('a KMS that is away for longer than the grace stops all, until it is back', async (t) => {
  const graceMs = 400;
  const { all, gates, close } = await serveAll(CHECK_MS, false, graceMs);
  silentFromMs = Number.POSITIVE_INFINITY;
  away();
  await until('the grace ends', () => gates('hung'));
  t.ok(performance.now() - silentFromMs >= graceMs, 'for none before its time');
  for (const [i, { client }] of all.entries()) client.send(CMD.write, 0, BLOCK, block(i, 7));
  back();
  await until('all go on', () => gates('live'));
  t.same(new Set(await Promise.all(all.map(({ client }) => client.reply()))), new Set([0]));
  const right = all.map(async ({ client }, i) => (await client.read(0, BLOCK)).equals(block(i, 7)));
  t.ok((await Promise.all(right)).every((each) => each));
  await close();
});

t.test('a storm of changes ends as the last of them says, and disks that close in it close', async () => {
  const { all, close } = await serveAll(600_000, true);
  for (let i = 0; i < 10; i++) {
    await rig.kms.disableKey('alias/bar');
    await rig.kms.enableKey('alias/bar');
    if (i === 5) await Promise.all(all.slice(0, 20).map(({ served }) => served.close()));
  }
  const open = all.slice(20);
  await until('all go on', () => open.every(({ served }) => served.status.lease === 'held'));
  await rig.kms.disableKey('alias/bar');
  await until('all hang', () => open.every(({ served }) => served.status.gate === 'hung'));
  await rig.kms.enableKey('alias/bar');
  await until('all go on again', () => open.every(({ served }) => served.status.gate === 'live'));
  await close();
});
