import { execFileSync } from 'node:child_process';
import { constants } from 'node:fs';
import { chmod, mkdir, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { LocalKms } from '#sealdisk/kms/local/local-kms.js';
import { DEFAULT_KEY_URI } from '#sealdisk/kms/local/ref.js';
import { openProvider } from '#sealdisk/kms/registry.js';
import { providerContract, type Rig, rejectsWith } from './contract.js';
import { tempPool } from './pool.js';

const SOON = { timeoutMs: 10_000 };

async function startRig(t: Test): Promise<Rig> {
  const poolDir = await tempPool(t);
  const kms = LocalKms.open(join(poolDir, 'kms'));
  const { keyId } = await kms.createKey({ alias: 'alias/rig' });
  const provider = await openProvider('local:alias/rig', { poolDir, env: {} });
  const other = await openProvider('local:alias/rig', { poolDir, env: {} });
  return {
    provider,
    other,
    disable: () => kms.disableKey('alias/rig'),
    enable: () => kms.enableKey('alias/rig'),
    scheduleDeletion: () => kms.scheduleDeletion('alias/rig'),
    cancelDeletion: () => kms.cancelDeletion('alias/rig'),
    stall: () => stallFile(join(poolDir, 'kms', 'keys', keyId)),
    tellsContext: true,
    stop: async () => {
      await provider.close();
      await other.close();
    },
  };
}

/** Whoever reads the file waits, as on a file system that hangs, until the returned function is called. */
async function stallFile(path: string): Promise<() => Promise<void>> {
  await rename(path, `${path}.away`);
  execFileSync('mkfifo', [path]);
  return async () => {
    const readers = await open(path, constants.O_WRONLY | constants.O_NONBLOCK);
    await rename(`${path}.away`, path);
    await readers.close();
  };
}

t.test('the contract', async (t) => providerContract(t, startRig));

t.test('makes the service key when its alias is described, and only one', async (t) => {
  const poolDir = await tempPool(t);
  const provider = await openProvider(DEFAULT_KEY_URI, { poolDir, env: {} });
  const { keyId, serviceKey } = await provider.describeKey(undefined, SOON);
  t.equal(serviceKey, true);
  t.equal((await provider.generateDataKey(64, {}, SOON)).wrapped.keyId, keyId);
  t.equal((await LocalKms.open(join(poolDir, 'kms')).listKeys()).keys.length, 1);
});

t.test('calls a store that went away unreachable, and makes no new one in its place', async (t) => {
  const poolDir = await tempPool(t);
  const dir = join(poolDir, 'kms');
  const provider = await openProvider(DEFAULT_KEY_URI, { poolDir, env: {} });
  const { wrapped } = await provider.generateDataKey(64, {}, SOON);
  const away = [
    ['the folder is gone', dir],
    ['the root key is gone', join(dir, 'root.key')],
    ['the records are gone', join(dir, 'keys')],
  ] as const;
  for (const [what, path] of away) {
    await rename(path, `${poolDir}/away`);
    await rejectsWith(t, provider.unwrap(wrapped, {}, SOON), 'KMS_CONNECTION', what);
    await rejectsWith(t, provider.describeKey(wrapped.keyId, SOON), 'KMS_CONNECTION', what);
    await rename(`${poolDir}/away`, path);
    t.equal((await provider.unwrap(wrapped, {}, SOON)).length, 64, 'and it is as before when it is back');
  }
  await rename(dir, `${poolDir}/away`);
  await mkdir(dir, { mode: 0o700 });
  await rejectsWith(t, provider.unwrap(wrapped, {}, SOON), 'KMS_CONNECTION', 'an empty mount point is there');
  await rm(dir, { recursive: true });
});

t.test('does not take a lost record for a lost store', async (t) => {
  const poolDir = await tempPool(t);
  const provider = await openProvider(DEFAULT_KEY_URI, { poolDir, env: {} });
  const { wrapped } = await provider.generateDataKey(64, {}, SOON);
  await rm(join(poolDir, 'kms', 'keys', wrapped.keyId));
  await rejectsWith(t, provider.unwrap(wrapped, {}, SOON), 'KMS_KEY_NOT_FOUND');
});

t.test('calls a store that cannot be trusted unreachable: nobody decided', async (t) => {
  const poolDir = await tempPool(t);
  const provider = await openProvider(DEFAULT_KEY_URI, { poolDir, env: {} });
  const { wrapped } = await provider.generateDataKey(64, {}, SOON);
  await chmod(join(poolDir, 'kms', 'root.key'), 0o644);
  await rejectsWith(t, provider.unwrap(wrapped, {}, SOON), 'KMS_SERVER_ERROR');
  await chmod(join(poolDir, 'kms', 'root.key'), 0o600);
  const { keyId } = await LocalKms.open(join(poolDir, 'kms')).createKey();
  await rename(join(poolDir, 'kms', 'keys', keyId), join(poolDir, 'kms', 'keys', wrapped.keyId));
  await rejectsWith(t, provider.unwrap(wrapped, {}, SOON), 'KMS_BAD_REPLY');
});

t.test('unwraps with the key that wrapped, whatever its alias names', async (t) => {
  const poolDir = await tempPool(t);
  const kms = LocalKms.open(join(poolDir, 'kms'));
  const { keyId: first } = await kms.createKey({ alias: 'alias/first' });
  const { keyId: second } = await kms.createKey({ alias: 'alias/second' });
  const provider = await openProvider('local:alias/first', { poolDir, env: {} });
  const byAlias = await openProvider('local:alias/second', { poolDir, env: {} });
  const byId = await openProvider(`local:${second}`, { poolDir, env: {} });
  const { wrapped } = await provider.generateDataKey(64, {}, SOON);
  t.equal(wrapped.keyId, first);
  t.equal((await byAlias.unwrap(wrapped, {}, SOON)).length, 64);
  await rejectsWith(t, byId.unwrap(wrapped, {}, SOON), 'KMS_INVALID_CIPHERTEXT');
});

t.test('refuses a wrapped key whose token names another key or version', async (t) => {
  const poolDir = await tempPool(t);
  const provider = await openProvider(DEFAULT_KEY_URI, { poolDir, env: {} });
  const { wrapped } = await provider.generateDataKey(64, {}, SOON);
  for (const twisted of [{ keyVersion: '2' }, { keyId: '00000000-0000-4000-8000-000000000000' }]) {
    await rejectsWith(t, provider.unwrap({ ...wrapped, ...twisted }, {}, SOON), 'KMS_INVALID_CIPHERTEXT');
  }
});

t.test('names the key in a failure as its user named it', async (t) => {
  const rig = await startRig(t);
  const { wrapped } = await rig.provider.generateDataKey(64, {}, SOON);
  await rig.disable?.();
  await t.rejects(rig.provider.unwrap(wrapped, {}, SOON), { message: 'key local:alias/rig is disabled' });
  await rig.stop();
});
