/** The leave to have holes: given at birth or later, once, proved by the key, whole after a kill. */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import t from 'tap';
import { unwrapDataKey } from '#sealdisk/disk/envelope.js';
import { readDisk } from '#sealdisk/disk/read.js';
import { type ReadyOptions, ready } from '#sealdisk/disk/ready.js';
import { withToken } from '#sealdisk/luks2/token.js';
import { diskRig, plant, SILENT, TIMEOUT_MS } from './rig.js';

const options = (over: Partial<ReadyOptions> = {}): ReadyOptions => ({
  readOnly: false,
  discard: true,
  takeover: false,
  kmsWaitMs: 0,
  ...over,
});
const hashOf = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

t.test('create gives it at birth, with the flag that dm-crypt goes by', async (t) => {
  const rig = await diskRig(t);
  const disk = await rig.create('a', true);
  t.match(disk, { holes: true, token: { holes: true, generation: 0 }, header: { seqid: 1n } });
  t.same(disk.header.metadata.config.flags, ['allow-discards']);
  (await unwrapDataKey(disk.header, await rig.provider(), { timeoutMs: TIMEOUT_MS })).wipe();
});

t.test('discard gives it to a disk without, in one write of both copies, and it stays', async (t) => {
  const rig = await diskRig(t);
  const before = await rig.create('a');
  const provider = await rig.provider();
  const after = await ready(before, provider, options(), SILENT);
  t.match(after, {
    holes: true,
    repair: 'none',
    token: { holes: true, generation: 1 },
    header: { seqid: 2n },
  });
  t.same(after.header.metadata.config.flags, ['allow-discards']);
  (await unwrapDataKey(after.header, provider, { timeoutMs: TIMEOUT_MS })).wipe();

  const hash = hashOf(before.path);
  t.same(await ready(after, provider, options(), SILENT), after, 'a second time writes nothing');
  t.match(await ready(after, provider, options({ discard: false }), SILENT), { holes: true });
  t.equal(hashOf(before.path), hash);
});

t.test('what the owner has put into the header stays in it', async (t) => {
  const rig = await diskRig(t);
  const disk = await rig.create('a');
  const { metadata } = disk.header;
  const config = { ...metadata.config, flags: ['no-read-workqueue'] };
  const tokens = { ...metadata.tokens, '5': { type: 'systemd-tpm2', keyslots: [] } };
  await plant(disk.path, { ...disk.header, label: 'mine', metadata: { ...metadata, config, tokens } });
  const after = await ready(await readDisk(disk.path), await rig.provider(), options(), SILENT);
  t.equal(after.header.label, 'mine');
  t.same(after.header.metadata.config.flags, ['no-read-workqueue', 'allow-discards']);
  t.match(after.header.metadata.tokens, { '5': { type: 'systemd-tpm2' } });
});

for (const over of [{ readOnly: true }, { takeover: true }] as const) {
  t.test(`${Object.keys(over)} writes no header`, async (t) => {
    const rig = await diskRig(t);
    const disk = await rig.create('a');
    const hash = hashOf(disk.path);
    t.match(await ready(disk, await rig.provider(), options(over), SILENT), { holes: false });
    t.equal(hashOf(disk.path), hash);
  });
}

t.test(
  'without the key nothing is written: a header that does not hold, a key that is disabled',
  async (t) => {
    const rig = await diskRig(t);
    const provider = await rig.provider();
    const { path, header, token } = await rig.create('a');
    const other = withToken(header, { ...token, object: { kind: 'disk', id: 'other' } });
    await plant(path, other);
    const hash = hashOf(path);
    const planted = await readDisk(path);
    await t.rejects(ready(planted, provider, options(), SILENT), { code: 'LUKS2_ALTERED' });
    await rig.kms.disableKey('alias/bar');
    await t.rejects(ready(planted, provider, options(), SILENT), { code: 'KMS_KEY_DISABLED' });
    t.equal(hashOf(path), hash);
  },
);

t.test('a header that was planted after the key had proved another is not rewritten', async (t) => {
  const rig = await diskRig(t);
  const disk = await rig.create('a');
  await plant(disk.path, withToken(disk.header, { ...disk.token, object: { kind: 'image', id: 'x' } }));
  const hash = hashOf(disk.path);
  await t.rejects(ready(disk, await rig.provider(), options(), SILENT), { code: 'LUKS2_ALTERED' });
  t.equal(hashOf(disk.path), hash);
});
