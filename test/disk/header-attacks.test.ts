/**
 * What somebody who can write the file may put into its header, checksums made right: each is refused by a code of its
 * own before a byte is served, and the file stays as it was planted. The KMS is the real one.
 */

import { closeSync, openSync, readSync, statSync, writeSync } from 'node:fs';
import t, { type Test } from 'tap';
import { createDisk } from '#sealdisk/disk/create.js';
import { contextOfHeader, sealOf, unwrapDataKey, wrappedKeyOf } from '#sealdisk/disk/envelope.js';
import { providerFor } from '#sealdisk/disk/provider.js';
import { type DiskDescription, readDisk } from '#sealdisk/disk/read.js';
import { ready } from '#sealdisk/disk/ready.js';
import { ServedDisk } from '#sealdisk/disk/served-disk.js';
import { openProvider } from '#sealdisk/kms/registry.js';
import type { Luks2Header, Which } from '#sealdisk/luks2/header.js';
import { HEADER_MAC_LABEL } from '#sealdisk/luks2/mac.js';
import { type SealdiskToken, withToken } from '#sealdisk/luks2/token.js';
import { type AnyJson, type Flaw, imageWith } from '../luks2/broken/flaw.js';
import { macOf, sampleHeader } from '../luks2/sample.js';
import { diskRig, KEY_URI, SILENT, TIMEOUT_MS } from './rig.js';

t.setTimeout(120_000);

const timeoutMs = TIMEOUT_MS;
const BOTH_BYTES = 32_768;
const ATTACKERS_KEY = Buffer.alloc(64, 0x41);
type Rig = Awaited<ReturnType<typeof diskRig>>;

/** What a write anywhere in the file changes. */
const stateOf = (path: string) =>
  `${statSync(path, { bigint: true }).ctimeNs} ${bothCopies(path).toString('base64')}`;

function bothCopies(path: string): Buffer {
  const fd = openSync(path, 'r');
  const bytes = Buffer.alloc(BOTH_BYTES);
  readSync(fd, bytes, 0, BOTH_BYTES, 0);
  closeSync(fd);
  return bytes;
}

function put(path: string, bytes: Buffer, atBytes = 0): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, bytes, 0, bytes.length, atBytes);
  closeSync(fd);
}

/** Puts `header`, twisted, in the place of the copies that `where` names. */
function plant(path: string, header: Luks2Header, flaw: Partial<Flaw> = {}, where?: Which): void {
  const image = imageWith(flaw, header).bytes;
  if (where !== 'secondary') put(path, image.subarray(0, BOTH_BYTES / 2));
  if (where !== 'primary') put(path, image.subarray(BOTH_BYTES / 2), BOTH_BYTES / 2);
}

/** As attach and serve do it, up to the first byte served. */
async function serve(rig: Rig, path: string, expectedKey: string | null = null): Promise<DiskDescription> {
  const found = await readDisk(path);
  const choice = { poolDir: rig.poolDir, env: {}, expectedKey, kmsWaitMs: 0 };
  const provider = await providerFor(found, choice, SILENT);
  const options = {
    terms: { onKeyLoss: 'hang', checkIntervalMs: 60_000, graceMs: 60_000 },
    readOnly: false,
    direct: false,
    discard: false,
    kmsWaitMs: 0,
    takeover: false,
  } as const;
  const disk = await ready(found, provider, options, SILENT);
  const served = await ServedDisk.open(disk, provider, options, SILENT);
  t.equal(served.status.gate, 'live');
  await served.close();
  return disk;
}

async function refused(t: Test, rig: Rig, path: string, code: string, expectedKey?: string): Promise<void> {
  const planted = stateOf(path);
  await t.rejects(serve(rig, path, expectedKey), { code, message: /^[ -~]{1,300}$/ });
  t.equal(stateOf(path), planted, 'and nothing was written');
}

const segment = (changes: object) => (json: AnyJson) => Object.assign(json.segments['0'], changes);
const digest = (changes: object) => (json: AnyJson) => Object.assign(json.digests['0'], changes);
const token = (changes: object) => (json: AnyJson) => Object.assign(json.tokens['0'], changes);
/** The digest that proves the attacker's own key. */
const attackersDigest = sampleHeader({ dataKey: ATTACKERS_KEY }).metadata.digests['0'];

/** What was twisted, in both copies, and what it is refused by. */
const TWISTS: readonly [string, string, (json: AnyJson) => void][] = [
  ['the null cipher', 'LUKS2_CIPHER', segment({ encryption: 'cipher_null-ecb' })],
  ['the null cipher, without a mode', 'LUKS2_CIPHER', segment({ encryption: 'cipher_null' })],
  ['aes-cbc', 'LUKS2_CIPHER', segment({ encryption: 'aes-cbc-essiv:sha256' })],
  ['the IV of plain', 'LUKS2_CIPHER', segment({ encryption: 'aes-xts-plain' })],
  ['the IV of null', 'LUKS2_CIPHER', segment({ encryption: 'aes-xts-null' })],
  ['a capi name', 'LUKS2_CIPHER', segment({ encryption: 'capi:ecb(cipher_null)-plain64' })],
  ['a linear segment', 'LUKS2_FIELD', segment({ type: 'linear' })],
  ['a segment that begins later', 'LUKS2_ALTERED', segment({ offset: `${(16 << 20) + 4096}` })],
  ['a segment that begins in the headers', 'LUKS2_FITS', segment({ offset: '4096' })],
  ['a segment of fixed size', 'LUKS2_FIELD', segment({ size: '4096' })],
  ['another first IV', 'LUKS2_FIELD', segment({ iv_tweak: '8' })],
  ['sectors of 512', 'LUKS2_ALTERED', segment({ sector_size: 512 })],
  ['sectors of 1024', 'LUKS2_SECTOR_SIZE', segment({ sector_size: 1024 })],
  ['integrity', 'LUKS2_CIPHER', segment({ integrity: { type: 'none' } })],
  ['a second segment', 'LUKS2_SEGMENTS', (json) => (json.segments['1'] = { ...json.segments['0'] })],
  ['the digest of a known key', 'LUKS2_ALTERED', digest({ ...attackersDigest })],
  ['a digest of sha1', 'LUKS2_DIGEST', digest({ hash: 'sha1' })],
  ['one iteration', 'LUKS2_DIGEST', digest({ iterations: 1 })],
  ['one iteration more', 'LUKS2_ALTERED', digest({ iterations: 1001 })],
  ['an empty digest, which proves any key to some', 'LUKS2_DIGEST', digest({ digest: '' })],
  ['a second digest', 'LUKS2_DIGEST', (json) => (json.digests['1'] = attackersDigest)],
  ['a digest of no segment', 'LUKS2_DIGEST', digest({ segments: [] })],
  ['a requirement', 'LUKS2_REQUIREMENT', (json) => (json.config.requirements = { mandatory: ['later'] })],
  [
    'a decryption that seems under way (CVE-2021-4122)',
    'LUKS2_REQUIREMENT',
    (json) => {
      json.config.requirements = { mandatory: ['online-reencrypt'] };
      json.segments['1'] = { ...json.segments['0'] };
      json.segments['0'] = { type: 'linear', offset: '0', size: '4096', flags: ['in-reencryption'] };
    },
  ],
  ['the id of the object', 'LUKS2_ALTERED', (json) => (json.tokens['0'].object.id = 'x')],
  ['the kind of the object', 'LUKS2_ALTERED', (json) => (json.tokens['0'].object.kind = 'image')],
  ['holes, where there were none', 'LUKS2_ALTERED', token({ holes: true })],
  ['a generation', 'LUKS2_ALTERED', token({ generation: 3 })],
  ['a MAC of another key', 'LUKS2_ALTERED', token({ header_mac: Buffer.alloc(32).toString('base64') })],
  ['a wrapped key that is noise', 'KMS_INVALID_CIPHERTEXT', token({ wrapped_key: 'AAAA' })],
  ['a second token', 'LUKS2_TOKEN', (json) => (json.tokens['1'] = { ...json.tokens['0'] })],
  ['no token', 'LUKS2_TOKEN_MISSING', (json) => (json.tokens = {})],
];

t.test('a header that was twisted is refused by its own code', async (t) => {
  const rig = await diskRig(t);
  const { path, header } = await rig.create('a');
  for (const [what, code, json] of TWISTS) {
    t.test(what, async (t) => {
      plant(path, header, { json });
      await refused(t, rig, path, code);
    });
  }
  t.test('and as it was made, it is served', async () => {
    plant(path, header);
    await serve(rig, path);
  });
});

t.test('holes that were taken away are refused', async (t) => {
  const rig = await diskRig(t);
  const { path, header } = await rig.create('a', true);
  plant(path, header, { json: (json) => delete json.tokens['0'].holes });
  await refused(t, rig, path, 'LUKS2_ALTERED');
});

t.test('what belongs to another disk is refused, under the same key and under another', async (t) => {
  const rig = await diskRig(t);
  await rig.kms.createKey({ alias: 'alias/theirs' });
  const { path, header, token } = await rig.create('a');
  const same = await rig.create('b');
  const other = await createUnder(rig, 'c', 'local:alias/theirs');
  for (const { header: from, token: foreign } of [same, other]) {
    plant(path, withToken(header, foreign));
    await refused(t, rig, path, 'KMS_WRONG_CONTEXT');
    const wrapped = { keyId: foreign.keyId, keyVersion: foreign.keyVersion, wrappedKey: foreign.wrappedKey };
    plant(path, withToken(header, { ...token, ...wrapped }));
    await refused(t, rig, path, 'KMS_WRONG_CONTEXT');
    plant(path, { ...from, uuid: header.uuid });
    await refused(t, rig, path, 'KMS_WRONG_CONTEXT');
  }
  plant(path, { ...header, uuid: same.header.uuid });
  await refused(t, rig, path, 'KMS_WRONG_CONTEXT');
});

async function createUnder(rig: Rig, name: string, keyUri: string): Promise<DiskDescription> {
  const provider = await openProvider(keyUri, { poolDir: rig.poolDir, env: {} });
  const disk = { path: rig.at(name), sizeBytes: 1n << 20n, sectorSize: 4096, name, tags: {} } as const;
  await createDisk({ ...disk, discard: false }, provider, timeoutMs);
  return readDisk(disk.path);
}

t.test('a data key that the attacker has had wrapped for this disk does not prove its header', async (t) => {
  const rig = await diskRig(t);
  const { path, header, token } = await rig.create('a');
  const made = await (await rig.provider()).generateDataKey(64, contextOfHeader(header), { timeoutMs });
  const { keyId, keyVersion, ciphertext } = made.wrapped;
  plant(path, withToken(header, { ...token, keyId, keyVersion, wrappedKey: Buffer.from(ciphertext) }));
  await refused(t, rig, path, 'LUKS2_ALTERED');
});

/** A header that proves itself, by a data key of the attacker's own under a CMK of the attacker's own. */
async function forged(rig: Rig, header: Luks2Header, token: SealdiskToken): Promise<Luks2Header> {
  const theirs = await openProvider('local:alias/theirs', { poolDir: rig.poolDir, env: {} });
  const { plaintext, wrapped } = await theirs.generateDataKey(64, contextOfHeader(header), { timeoutMs });
  const dataKey = Buffer.from(plaintext);
  const { digests } = sampleHeader({ dataKey }).metadata;
  const bare = { ...header, metadata: { ...header.metadata, digests } };
  const { keyId, keyVersion, ciphertext } = wrapped;
  const wrappedKey = Buffer.from(ciphertext);
  const own = { ...token, keyUri: theirs.keyUri, keyId, keyVersion, wrappedKey };
  return withToken(bare, { ...own, headerMac: macOf(withToken(bare, own), dataKey) });
}

t.test('a whole header under a key of the attacker proves itself: only --key tells it apart', async (t) => {
  const rig = await diskRig(t);
  await rig.kms.createKey({ alias: 'alias/theirs' });
  const { path, header, token } = await rig.create('a');
  await serve(rig, path, KEY_URI);
  plant(path, await forged(rig, header, token));
  await serve(rig, path);
  await refused(t, rig, path, 'DISK_OTHER_KEY', KEY_URI);

  const claims = { keyUri: token.keyUri, keyId: token.keyId };
  plant(path, withToken(header, { ...(await readDisk(path)).token, ...claims }));
  await refused(t, rig, path, 'KMS_INVALID_CIPHERTEXT', KEY_URI);

  plant(path, withToken(header, { ...token, keyUri: 'local:alias/theirs' }));
  t.equal((await serve(rig, path, KEY_URI)).token.keyUri, 'local:alias/theirs', 'an address alone is no key');
  await t.rejects(serve(rig, path, 'local:alias/none'), { code: 'KMS_KEY_NOT_FOUND' });
});

t.test('of two copies the newer is served, and the older mended only after it was proved', async (t) => {
  for (const newest of ['primary', 'secondary'] as const) {
    const rig = await diskRig(t);
    const { path, header } = await rig.create('a');
    const newer = { ...header, label: 'newer', seqid: header.seqid + 1n };
    plant(path, newer, { json: segment({ sector_size: 512 }) }, newest);
    await refused(t, rig, path, 'LUKS2_ALTERED');
    plant(path, newer, {}, newest);
    t.match(await serve(rig, path), { header: { label: 'newer' } });
    t.match(await readDisk(path), { repair: 'none', header: { label: 'newer', seqid: newer.seqid } });
  }
});

t.test('an old copy with a sequence id to win by is refused, and so are two that differ', async (t) => {
  const rig = await diskRig(t);
  const disk = await rig.create('a');
  const key = await unwrapDataKey(disk.header, await rig.provider(), { timeoutMs });
  t.teardown(() => key.wipe());
  const next = { ...disk.token, holes: true, generation: 1 };
  const bare = withToken(disk.header, next);
  const present = { ...withToken(bare, { ...next, headerMac: sealOf(bare, key) }), seqid: 2n };
  plant(disk.path, present);
  t.match(await serve(rig, disk.path), { holes: true });
  for (const which of ['primary', 'secondary'] as const) {
    plant(disk.path, present);
    plant(disk.path, { ...disk.header, seqid: 9n }, {}, which);
    await refused(t, rig, disk.path, 'LUKS2_ROLLED_BACK');
    plant(disk.path, { ...disk.header, seqid: 2n }, {}, which);
    await refused(t, rig, disk.path, 'LUKS2_COPIES');
    plant(disk.path, disk.header, {}, which);
    t.match(await serve(rig, disk.path), { holes: true }, 'an old copy as it was loses');
  }
});

t.test('a whole old pair that is put back is served as it was: nothing in the file can tell', async (t) => {
  const rig = await diskRig(t);
  const disk = await rig.create('a');
  const old = bothCopies(disk.path);
  const options = { readOnly: false, discard: true, takeover: false, kmsWaitMs: 0 };
  t.match(await ready(disk, await rig.provider(), options, SILENT), {
    holes: true,
    token: { generation: 1 },
  });
  put(disk.path, old);
  t.match(await serve(rig, disk.path), { holes: false, token: { generation: 0 } });
});

t.test('the test signs as the engine does', async (t) => {
  const rig = await diskRig(t);
  const { header, token } = await rig.create('a');
  const provider = await rig.provider();
  const context = contextOfHeader(header);
  const secret = await provider.unwrap(wrappedKeyOf(token), context, { timeoutMs });
  t.equal(HEADER_MAC_LABEL, 'sealdisk header');
  t.same(macOf(header, Buffer.from(secret)), token.headerMac);
});
