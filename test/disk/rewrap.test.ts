/** Another wrapping of the same data key: proved before it is written, cut anywhere, in service; and what is refused. */

import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { unwrapDataKey } from '#sealdisk/disk/envelope.js';
import { readDisk } from '#sealdisk/disk/read.js';
import { HeaderKeeper, rewrapDetached } from '#sealdisk/disk/rewrap.js';
import { ServedDisk } from '#sealdisk/disk/served-disk.js';
import { wrappingOf, writeWrapping } from '#sealdisk/disk/wrapping.js';
import { canWrap } from '#sealdisk/kms/provider.js';
import { openProvider } from '#sealdisk/kms/registry.js';
import { until } from '../kms/pool.js';
import { diskRig, KEY_URI, SILENT, TIMEOUT_MS } from './rig.js';

t.setTimeout(60_000);

const NEWEST = { keyUri: null, force: false };
const PAYLOAD_AT = 16 << 20;

t.test('goes to the newest version, and nothing but the wrapping changes', async (t) => {
  const { create, kms, poolDir } = await diskRig(t);
  const environment = { poolDir, env: {} };
  const before = await create('a');
  const payload = readFileSync(before.path).subarray(PAYLOAD_AT);
  await kms.rotateKey('alias/bar');
  const done = await rewrapDetached(before.path, NEWEST, environment);
  t.match(done, { changed: true, keyUri: KEY_URI, keyVersion: '2', was: { keyVersion: '1' } });
  const after = await readDisk(before.path);
  t.notOk(after.token.wrappedKey.equals(before.token.wrappedKey));
  const { wrappedKey: _, keyVersion: __, generation, headerMac: ___, ...rest } = after.token;
  t.match(before.token, rest, 'the rest of the token is kept');
  t.equal(generation, before.token.generation + 1);
  t.same(after.header.metadata.digests, before.header.metadata.digests, 'the data key is the same');
  t.ok(readFileSync(before.path).subarray(PAYLOAD_AT).equals(payload), 'and the data, too');

  const written = statSync(before.path, { bigint: true });
  t.match(await rewrapDetached(before.path, NEWEST, environment), { changed: false, keyVersion: '2' });
  t.equal(statSync(before.path, { bigint: true }).mtimeNs, written.mtimeNs, 'what is newest is not written');
  t.match(await rewrapDetached(before.path, { ...NEWEST, force: true }, environment), { changed: true });
});

t.test('goes to another key, and the one before is asked no more', async (t) => {
  const { create, kms, poolDir } = await diskRig(t);
  const environment = { poolDir, env: {} };
  const { path } = await create('a');
  const { keyId } = await kms.createKey({ alias: 'alias/new' });
  const wish = { keyUri: 'local:alias/new', force: false };
  t.match(await rewrapDetached(path, wish, environment), {
    keyUri: wish.keyUri,
    keyId,
    was: { keyUri: KEY_URI },
  });
  await kms.disableKey('alias/bar');
  const disk = await readDisk(path);
  const provider = await openProvider(disk.token.keyUri, environment);
  (await unwrapDataKey(disk.header, provider, { timeoutMs: TIMEOUT_MS })).wipe();
  await kms.disableKey('alias/new');
  await t.rejects(rewrapDetached(path, { ...NEWEST, force: true }, environment), {
    code: 'KMS_KEY_DISABLED',
  });
});

t.test('a wrapping that does not give the key of the disk is not written', async (t) => {
  const { create, provider } = await diskRig(t);
  const disk = await create('a');
  const own = await provider();
  if (!canWrap(own)) return t.fail('it wraps');
  const context = { 'sealdisk:disk': disk.header.uuid };
  const { wrapped } = await own.generateDataKey(64, context, { timeoutMs: TIMEOUT_MS });
  const bytes = readFileSync(disk.path).subarray(0, 32_768);
  await t.rejects(writeWrapping(disk, own, wrappingOf(wrapped, KEY_URI), 'take'), { code: 'LUKS2_ALTERED' });
  const half = await own.wrap(Buffer.alloc(64, 7), context, { timeoutMs: TIMEOUT_MS });
  await t.rejects(writeWrapping(disk, own, wrappingOf(half, KEY_URI), 'take'), {
    code: 'KMS_INVALID_CIPHERTEXT',
  });
  t.ok(readFileSync(disk.path).subarray(0, 32_768).equals(bytes));
});

t.test('a disk in service goes on under the new key: checks, loss and restore are of that', async (t) => {
  const { create, kms, poolDir, provider } = await diskRig(t);
  const environment = { poolDir, env: {} };
  const disk = await create('a');
  await kms.createKey({ alias: 'alias/new' });
  const options = {
    terms: { onKeyLoss: 'hang' as const, checkIntervalMs: 60_000, graceMs: 60_000 },
    ...{ readOnly: false, direct: false, discard: false, kmsWaitMs: 0, takeover: false },
  };
  const served = await ServedDisk.open(disk, await provider(), options, SILENT);
  t.teardown(() => served.close());
  let shown = 0;
  const front = {
    environment,
    pinned: false,
    show: async () => {
      shown += 1;
    },
  };
  const rewrapper = new HeaderKeeper(served, front);
  const wish = { keyUri: 'local:alias/new', force: false };
  const refused = { code: 'DISK_REWRAP', message: /in service with --key/ };
  await t.rejects(new HeaderKeeper(served, { ...front, pinned: true }).rewrap(wish), refused);
  const [first, second] = await Promise.all([rewrapper.rewrap(wish), rewrapper.rewrap(wish)]);
  t.match(
    [first?.changed, second?.changed, shown],
    [true, false, 1],
    'two at a time are one after the other',
  );
  t.match(served.disk.token, { keyUri: wish.keyUri, generation: 1 });
  t.match((await readDisk(disk.path)).token, { keyUri: wish.keyUri, generation: 1 });
  await kms.disableKey('alias/bar');
  t.match(served.status, { gate: 'live' });
  await kms.disableKey('alias/new');
  await until('the new key is watched', () => served.status.gate === 'hung');
  await t.rejects(rewrapper.rewrap({ ...NEWEST, force: true }), { code: 'KMS_KEY_DISABLED' });
  await kms.enableKey('alias/new');
  await until('and unwrapped by', () => served.status.gate === 'live');
});

t.test('a disk that is served read-only is not rewrapped', async (t) => {
  const { create, kms, poolDir, provider } = await diskRig(t);
  const disk = await create('a');
  await kms.rotateKey('alias/bar');
  const options = {
    terms: { onKeyLoss: 'hang' as const, checkIntervalMs: 60_000, graceMs: 60_000 },
    ...{ readOnly: true, direct: false, discard: false, kmsWaitMs: 0, takeover: false },
  };
  const served = await ServedDisk.open(disk, await provider(), options, SILENT);
  t.teardown(() => served.close());
  const front = { environment: { poolDir, env: {} }, pinned: false, show: async () => {} };
  await t.rejects(new HeaderKeeper(served, front).rewrap(NEWEST), { code: 'DISK_REWRAP' });
  t.equal((await readDisk(join(poolDir, 'a'))).token.keyVersion, '1');
});
