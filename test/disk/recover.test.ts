/** A recovery passphrase: made by cryptsetup from the KMS's data key, opened by cryptsetup and by us without the KMS. */

import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { flockSync } from 'fs-ext';
import t, { type Test } from 'tap';
import { unwrapDataKey } from '#sealdisk/disk/envelope.js';
import { readDisk } from '#sealdisk/disk/read.js';
import {
  addPassphrase,
  checkPassphrase,
  keyslotsOf,
  removePassphrase,
  rewrapByPassphrase,
} from '#sealdisk/disk/recover.js';
import { rewrapDetached } from '#sealdisk/disk/rewrap.js';
import { LocalKms } from '#sealdisk/kms/local/local-kms.js';
import { allocSecret } from '#sealdisk/kms/local/secret.js';
import { openProvider } from '#sealdisk/kms/registry.js';
import { diskRig, plant, TIMEOUT_MS } from './rig.js';

t.setTimeout(110_000);

/** cryptsetup measures this machine first; then it is as cheap as it gets. */
const CHEAP_MS = 10;
const FAST = ['--pbkdf-force-iterations', '4', '--pbkdf-memory', '32', '--pbkdf-parallel', '1'];

function secret(text: string): Buffer {
  const bytes = Buffer.from(text);
  const room = allocSecret(bytes.length);
  bytes.copy(room);
  return room;
}

/** cryptsetup alone, as an owner without sealdisk has it. */
const cryptsetup = (args: string[], input = ''): string =>
  execFileSync('cryptsetup', ['--batch-mode', ...args], { input, encoding: 'utf8', stdio: 'pipe' });

/** A disk whose passphrase cryptsetup added, cheaply, and its data key. */
async function recoverable(t: Test) {
  const rig = await diskRig(t);
  const disk = await rig.create('a');
  const key = await unwrapDataKey(disk.header, await rig.provider(), { timeoutMs: TIMEOUT_MS });
  const at = (name: string) => join(rig.poolDir, name);
  writeFileSync(at('passphrase'), 'correct horse');
  const fd = openSync(at('key'), 'w', 0o600);
  key.writeTo(fd);
  closeSync(fd);
  const volumeKey = ['--key-size', '512', '--volume-key-file', at('key')];
  cryptsetup(['luksAddKey', ...volumeKey, ...FAST, disk.path, at('passphrase')]);
  return { ...rig, at, path: disk.path, dataKey: readFileSync(at('key')) };
}

t.test(
  'a passphrase that is added opens the disk with cryptsetup alone, and gives the same data key',
  async (t) => {
    const { create, provider, poolDir } = await diskRig(t);
    const { path } = await create('a');
    const own = await provider();
    t.equal(await addPassphrase(path, own, secret('correct horse'), CHEAP_MS), '0');
    const { header } = await readDisk(path);
    t.match(header.metadata.keyslots, { 0: { type: 'luks2', kdf: { type: 'argon2id' } } });
    rmSync(join(poolDir, 'kms'), { recursive: true });
    cryptsetup(['open', '--test-passphrase', path], 'correct horse\n');
    t.throws(() => cryptsetup(['open', '--test-passphrase', path], 'wrong\n'));
  },
);

t.test('with the passphrase alone a disk gets under a new key, its KMS being lost', async (t) => {
  const { path, poolDir, dataKey, at } = await recoverable(t);
  rmSync(join(poolDir, 'kms'), { recursive: true });
  const kms = LocalKms.open(join(poolDir, 'kms'));
  await kms.createKey({ alias: 'alias/new' });
  const environment = { poolDir, env: {} };
  await t.rejects(rewrapDetached(path, { keyUri: 'local:alias/new', force: false }, environment), {
    code: 'KMS_KEY_NOT_FOUND',
  });
  const to = await openProvider('alias/new', environment);
  const bytes = readFileSync(path);
  await t.rejects(rewrapByPassphrase(path, to, secret('wrong')), { code: 'RECOVERY_PASSPHRASE' });
  t.ok(readFileSync(path).equals(bytes), 'a wrong passphrase changes nothing');
  const { token, header } = await rewrapByPassphrase(path, to, secret('correct horse'));
  t.match(token, { keyUri: 'local:alias/new', keyVersion: '1', generation: 1 });
  t.same(keyslotsOf(header), ['0'], 'the keyslot is kept');
  const key = await unwrapDataKey((await readDisk(path)).header, to, { timeoutMs: TIMEOUT_MS });
  const fd = openSync(at('key'), 'w');
  key.writeTo(fd);
  closeSync(fd);
  t.ok(readFileSync(at('key')).equals(dataKey), 'the data key is the one that it was');
  t.equal((await checkPassphrase(path, secret('correct horse'))).token.keyUri, 'local:alias/new');
});

t.test('is refused while the disk is held, but for a check', async (t) => {
  const { path, provider } = await recoverable(t);
  const own = await provider();
  const fd = openSync(path, 'r');
  t.teardown(() => closeSync(fd));
  flockSync(fd, 'sh');
  t.equal((await checkPassphrase(path, secret('correct horse'))).path, path);
  await t.rejects(addPassphrase(path, own, secret('x'), CHEAP_MS), { code: 'DISK_IN_USE' });
});

t.test('is taken away only when the KMS opens the disk', async (t) => {
  const { path, provider, kms } = await recoverable(t);
  const own = await provider();
  await kms.disableKey('alias/bar');
  await t.rejects(removePassphrase(path, own, '0'), { code: 'KMS_KEY_DISABLED' });
  t.match(cryptsetup(['luksDump', path]), /0: luks2/, 'the last way in is kept');
  await kms.enableKey('alias/bar');
  await t.rejects(removePassphrase(path, own, '1'), { code: 'RECOVERY_NONE' });
  await removePassphrase(path, own, '0');
  t.same(keyslotsOf((await readDisk(path)).header), []);
  await t.rejects(checkPassphrase(path, secret('correct horse')), { code: 'RECOVERY_NONE' });
});

t.test('a keyslot that is not as cryptsetup makes them is not opened', async (t) => {
  const { path } = await recoverable(t);
  const { header } = await readDisk(path);
  const slot = header.metadata.keyslots['0'] as { area: object; kdf: object };
  const flaws = [
    { ...slot, area: { ...slot.area, encryption: 'cipher_null-ecb' } },
    { ...slot, type: 'reencrypt' },
    { ...slot, key_size: 32 },
    { ...slot, kdf: { ...slot.kdf, type: 'none' } },
  ];
  for (const flaw of flaws) {
    const present = (await readDisk(path)).header;
    await plant(path, { ...present, metadata: { ...present.metadata, keyslots: { 0: flaw as never } } });
    await t.rejects(checkPassphrase(path, secret('correct horse')), { code: 'RECOVERY_KEYSLOT' });
  }
});

t.test('a header that was twisted is told, though the passphrase opens its keyslot', async (t) => {
  const { path, provider } = await recoverable(t);
  const { header, token } = await readDisk(path);
  const tokens = { 0: { ...header.metadata.tokens['0'], generation: token.generation + 5 } };
  await plant(path, { ...header, metadata: { ...header.metadata, tokens: tokens as never } });
  const refused = { code: 'LUKS2_ALTERED', facts: { what: 'header_mac' } };
  await t.rejects(checkPassphrase(path, secret('correct horse')), refused);
  await t.rejects(rewrapByPassphrase(path, await provider(), secret('correct horse')), refused);
});
