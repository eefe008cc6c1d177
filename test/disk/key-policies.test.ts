/**
 * What each class of failure does to a disk in service under each policy, with a KMS over HTTP: somebody decided, nobody
 * decided, or the key is no key for a disk. And what brings it back.
 */

import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { createDisk } from '#sealdisk/disk/create.js';
import type { OnKeyLoss } from '#sealdisk/disk/key-lease.js';
import { readDisk } from '#sealdisk/disk/read.js';
import { ServedDisk } from '#sealdisk/disk/served-disk.js';
import { openProvider } from '#sealdisk/kms/registry.js';
import { FakeVault } from '../kms/fake-vault.js';
import { hangUp, html, type Manner, raw, reply } from '../kms/faulty-server.js';
import { tempPool, until } from '../kms/pool.js';
import { SILENT, TIMEOUT_MS } from './rig.js';

const CHECK_MS = 25;
const GRACE_MS = 100;
/** Policy, and how the disk is when its key is lost under it. */
const POLICIES = [
  ['hang', 'hung', 'lost'],
  ['fail', 'failed', 'lost'],
  ['keep', 'live', 'kept'],
] as const;

async function served(t: Test, onKeyLoss: OnKeyLoss, graceMs: number) {
  const dir = await tempPool(t);
  const vault = await FakeVault.start(t);
  const key = vault.addKey('disks');
  const token = vault.addToken();
  const env = { VAULT_ADDR: vault.origin, VAULT_TOKEN: token };
  const provider = () => openProvider('hashivault://disks', { poolDir: dir, env });
  const disk = {
    path: join(dir, 'disk'),
    sizeBytes: 1n << 20n,
    sectorSize: 4096,
    name: '',
    tags: {},
    discard: false,
  } as const;
  await createDisk(disk, await provider(), TIMEOUT_MS);
  const options = {
    terms: { onKeyLoss, checkIntervalMs: CHECK_MS, graceMs },
    readOnly: false,
    direct: false,
    discard: false,
    kmsWaitMs: 0,
    takeover: false,
  };
  const one = await ServedDisk.open(await readDisk(disk.path), await provider(), options, SILENT);
  t.teardown(() => one.close());
  return { vault, key, rights: vault.tokens.get(token) ?? { mayUse: true }, one };
}

type Served = Awaited<ReturnType<typeof served>>;
/** Takes the key away, and gives it back. */
type Loss = readonly [title: string, take: (s: Served) => void, give: (s: Served) => void, reason: RegExp];

const DECISIONS: readonly Loss[] = [
  [
    'the policy forbids it',
    ({ rights }) => Object.assign(rights, { mayUse: false }),
    ({ rights }) => Object.assign(rights, { mayUse: true }),
    /access .* is denied/,
  ],
  [
    'it is deleted, but can be restored',
    ({ key }) => Object.assign(key, { softDeleted: true }),
    ({ key }) => Object.assign(key, { softDeleted: false }),
    /pending deletion/,
  ],
  [
    'its version is withdrawn',
    ({ key }) => {
      key.versions.push(randomBytes(32));
      key.minDecryptionVersion = 2;
    },
    ({ key }) => Object.assign(key, { minDecryptionVersion: 1 }),
    /is disabled/,
  ],
  [
    'it is gone',
    ({ vault }) => vault.keys.delete('disks'),
    ({ vault, key }) => vault.keys.set('disks', key),
    /does not exist/,
  ],
  [
    'it is no key for a disk any more',
    ({ key }) => Object.assign(key, { derived: true }),
    ({ key }) => Object.assign(key, { derived: false }),
    /expected aes128-gcm96/,
  ],
];

const misbehaves = (title: string, manner: Manner, reason: RegExp): Loss => [
  title,
  ({ vault }) => Object.assign(vault, { manner }),
  ({ vault }) => Object.assign(vault, { manner: undefined }),
  reason,
];

const SILENCES: readonly Loss[] = [
  [
    'it is sealed',
    ({ vault }) => Object.assign(vault, { sealed: true }),
    ({ vault }) => Object.assign(vault, { sealed: false }),
    /HTTP 503/,
  ],
  misbehaves('it hangs up', hangUp, /cannot be reached/),
  misbehaves('it throttles', html(429), /slow down/),
  misbehaves("a proxy's 403 stands in its place", html(403), /is not its KMS/),
  misbehaves("a web server's 404 stands in its place", html(404), /is not its KMS/),
  misbehaves('it answers with something else', reply({ status: 200, body: '{"data":{}}' }), /is not its KMS/),
  misbehaves('it speaks no HTTP', raw('SSH-2.0-x\r\n\r\n'), /is not its KMS|cannot be reached/),
];

for (const [policy, gate, lease] of POLICIES) {
  t.test(`${policy}: a decision about the key makes the disk ${gate} at once`, async (t) => {
    const s = await served(t, policy, 600_000);
    for (const [title, take, give, reason] of DECISIONS) {
      take(s);
      await until(title, () => s.one.status.lease === lease);
      t.match(s.one.status, { gate, reason }, title);
      give(s);
      await until(`${title}: undone`, () => s.one.status.lease === 'held');
      t.match(s.one.status, { gate: 'live', reason: '' });
    }
  });

  t.test(`${policy}: a KMS that says nothing makes the disk ${gate} only after the grace`, async (t) => {
    const s = await served(t, policy, GRACE_MS);
    for (const [title, take, give, reason] of SILENCES.slice(0, 1)) {
      const begunMs = performance.now();
      take(s);
      await until(`${title}: noticed`, () => reason.test(s.one.status.reason));
      await until(`${title}: beyond the grace`, () => s.one.status.lease === lease);
      // The question that was not answered may have been asked a moment before.
      t.ok(performance.now() - begunMs > GRACE_MS / 2, `${title}: not before`);
      t.equal(s.one.status.gate, gate, title);
      give(s);
      await until(`${title}: it is back`, () => s.one.status.lease === 'held');
      t.match(s.one.status, { gate: 'live', reason: '' });
    }
  });
}

t.test('within the grace a KMS that says nothing stops nothing', async (t) => {
  const s = await served(t, 'hang', 600_000);
  for (const [title, take, give, reason] of SILENCES) {
    take(s);
    await until(title, () => reason.test(s.one.status.reason));
    t.match(s.one.status, { gate: 'live', lease: 'held' }, title);
    give(s);
    await until(`${title}: it is back`, () => s.one.status.reason === '');
  }
});
