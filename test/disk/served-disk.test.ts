/** A disk in service and the real embedded KMS: what each policy does when the key, or the whole KMS, goes and returns. */

import { renameSync } from 'node:fs';
import t, { type Test } from 'tap';
import type { OnKeyLoss } from '#sealdisk/disk/key-lease.js';
import { ServedDisk, type ServedDiskOptions } from '#sealdisk/disk/served-disk.js';
import type { KeyProvider } from '#sealdisk/kms/provider.js';
import { until } from '../kms/pool.js';
import { diskRig, SILENT } from './rig.js';

const CHECK_MS = 50;

/** The provider without its watch: what is seen, the checks have seen. */
const unwatched = (provider: KeyProvider): KeyProvider => ({
  keyUri: provider.keyUri,
  generateDataKey: (...args) => provider.generateDataKey(...args),
  unwrap: (...args) => provider.unwrap(...args),
  describeKey: (...args) => provider.describeKey(...args),
  close: () => provider.close(),
});

async function served(
  t: Test,
  onKeyLoss: OnKeyLoss,
  over: { graceMs?: number; checkMs?: number; watch?: boolean } & Partial<ServedDiskOptions> = {},
) {
  const rig = await diskRig(t);
  const disk = await rig.create('a');
  const { graceMs = 60_000, checkMs = CHECK_MS, watch = false, ...rest } = over;
  const provider = await rig.provider();
  const gates: string[] = [];
  const options = {
    terms: { onKeyLoss, checkIntervalMs: checkMs, graceMs },
    readOnly: false,
    direct: false,
    discard: false,
    kmsWaitMs: 60_000,
    takeover: false,
    ...rest,
  };
  const open = () =>
    ServedDisk.open(disk, watch ? provider : unwatched(provider), options, SILENT, (gate) =>
      gates.push(gate),
    );
  const one = await open();
  t.teardown(() => one.close());
  const lose = () => renameSync(rig.at('kms'), rig.at('away'));
  const find = () => renameSync(rig.at('away'), rig.at('kms'));
  return { ...rig, one, open, gates, lose, find };
}

for (const watch of [false, true]) {
  for (const [policy, gate] of [
    ['hang', 'hung'],
    ['fail', 'failed'],
  ] as const) {
    t.test(
      `${policy}: the gate is ${gate} while the key is disabled, ${watch ? 'told by the watch' : 'by the checks'}`,
      async (t) => {
        const checkMs = watch ? 600_000 : CHECK_MS;
        const { one, kms, gates } = await served(t, policy, { watch, checkMs });
        t.match(one.status, { gate: 'live', lease: 'held', reason: '' });
        await kms.disableKey('alias/bar');
        await until('the gate shuts', () => one.status.gate === gate);
        t.match(one.status, { lease: 'lost', reason: 'key local:alias/bar is disabled' });
        await kms.enableKey('alias/bar');
        await until('the gate opens', () => one.status.gate === 'live');
        t.match(one.status, { lease: 'held', reason: '' });
        t.same(gates, ['live', gate, 'live']);
      },
    );
  }
}

t.test('keep: the gate stays live under a disabled key, and the lease says why', async (t) => {
  const { one, kms, gates } = await served(t, 'keep');
  await kms.disableKey('alias/bar');
  await until('the lease is kept', () => one.status.lease === 'kept');
  t.match(one.status, { gate: 'live', reason: 'key local:alias/bar is disabled' });
  await kms.enableKey('alias/bar');
  await until('the lease is held', () => one.status.lease === 'held');
  t.same(gates, ['live']);
});

t.test('a KMS that is away within the grace stops nothing', async (t) => {
  const { one, lose, find, gates } = await served(t, 'hang');
  lose();
  await until('the silence is noticed', () => one.status.reason !== '');
  t.match(one.status, { gate: 'live', lease: 'held', reason: /cannot be reached/ });
  find();
  await until('the KMS is heard again', () => one.status.reason === '');
  t.same(gates, ['live']);
});

t.test('a KMS that is away beyond the grace is as a disabled key, until it returns', async (t) => {
  const { one, lose, find, gates } = await served(t, 'hang', { graceMs: 200 });
  const awayMs = performance.now();
  lose();
  await until('the gate shuts', () => one.status.gate === 'hung');
  t.ok(performance.now() - awayMs >= 200, 'not before the grace ended');
  find();
  await until('the gate opens', () => one.status.gate === 'live');
  t.same(gates, ['live', 'hung', 'live']);
});

t.test('a disk that opens waits for its KMS, then fails; closing twice is fine', async (t) => {
  const { one, open, lose, find } = await served(t, 'hang', { kmsWaitMs: 300 });
  await one.close();
  lose();
  const startedMs = performance.now();
  await t.rejects(open(), { code: 'KMS_CONNECTION' });
  t.ok(performance.now() - startedMs >= 300);
  find();
  const again = await open();
  t.equal(again.status.gate, 'live');
  await again.close();
  await again.close();
});

t.test(
  'a takeover under a disabled key begins as its policy says, and goes on when it is enabled',
  async (t) => {
    for (const [policy, gate] of [
      ['hang', 'hung'],
      ['fail', 'failed'],
    ] as const) {
      const { one, open, kms } = await served(t, policy, { takeover: true });
      await one.close();
      await kms.disableKey('alias/bar');
      const taken = await open();
      t.match(taken.status, { gate, lease: 'lost', reason: 'key local:alias/bar is disabled' });
      await kms.enableKey('alias/bar');
      await until('the gate opens', () => taken.status.gate === 'live');
      await taken.close();
    }
  },
);

t.test('a revoked key is refused at once, without a wait', async (t) => {
  const { one, open, kms } = await served(t, 'hang', { kmsWaitMs: 600_000 });
  await one.close();
  await kms.disableKey('alias/bar');
  await t.rejects(open(), { code: 'KMS_KEY_DISABLED' });
});
