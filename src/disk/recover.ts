/**
 * The recovery passphrase of a disk: a LUKS2 keyslot that holds the data key under a passphrase of the owner's.
 *
 * Keyslots are cryptsetup's work (Argon2id) and open with cryptsetup alone; here the data key is brought to it, or taken
 * from it, by pipes. `header_mac` is not over keyslots, so whoever can write the file can plant one: only keyslots of the
 * form that cryptsetup makes are opened (one without a cipher opens with every passphrase and holds a stranger's key,
 * CVE-2025-59054), and the key that comes out must prove the header.
 */

import { type DataKey, engine } from '../engine/engine.js';
import { fail } from '../errors.js';
import { allocSecret, freeSecret } from '../kms/local/secret.js';
import type { KeyProvider, SecretBytes } from '../kms/provider.js';
import type { Luks2Header } from '../luks2/header.js';
import { isObject, type JsonObject, show } from '../luks2/json.js';
import { withLock } from '../luks2/lock.js';
import { CIPHER } from '../luks2/metadata.js';
import { openBacking } from './backing.js';
import { cryptsetup, cryptsetupOutput, NO_KEY, pourBytes, secretPath } from './cryptsetup.js';
import { DATA_KEY_BYTES, proveHeader, unwrapDataKey } from './envelope.js';
import { KMS_TIMEOUT_MS } from './patience.js';
import { type DiskDescription, readDisk } from './read.js';
import { wrappingOf, wrapUnder, writeWrapping } from './wrapping.js';

export const PASSPHRASE_MAX_BYTES = 512;
/** Who writes a header holds the lock for less; who serves the disk, for as long as that lasts. */
const DETACHED_WAIT_MS = 1000;
const KEY_BITS = String(DATA_KEY_BYTES * 8);

/** Ids of the keyslots in the header, in order. */
export const keyslotsOf = ({ metadata }: Luks2Header): string[] =>
  Object.keys(metadata.keyslots).sort((a, b) => Number(a) - Number(b));

/**
 * Adds a keyslot with `passphrase`, and proves it by opening it; its id. `iterTimeMs`: how long one try is to take on this
 * machine. Fails with DISK_IN_USE while the disk is attached, CRYPTSETUP, RECOVERY_*, LUKS2_* or KMS_*.
 */
export async function addPassphrase(
  path: string,
  provider: KeyProvider,
  passphrase: SecretBytes,
  iterTimeMs: number | undefined,
): Promise<string> {
  const before = await detachedDisk(path);
  const key = await unwrapDataKey(before.header, provider, { timeoutMs: KMS_TIMEOUT_MS });
  try {
    const iterTime = iterTimeMs === undefined ? [] : ['--iter-time', `${iterTimeMs}`];
    const args = [
      ...['luksAddKey', '--key-size', KEY_BITS, '--volume-key-file', secretPath(0)],
      ...['--pbkdf', 'argon2id', ...iterTime, '--new-keyfile-size', `${passphrase.length}`],
      ...[path, secretPath(1)],
    ];
    const { code, said } = await cryptsetup(args, [(fd) => key.writeTo(fd), pourBytes(passphrase)]);
    if (code !== 0) fail('CRYPTSETUP', { why: said });
  } finally {
    key.wipe();
  }
  const after = await readDisk(path);
  const known = keyslotsOf(before.header);
  const added = keyslotsOf(after.header).find((id) => !known.includes(id));
  if (added === undefined) fail('CRYPTSETUP', { why: 'it added no keyslot' });
  await withPassphrase(after, passphrase, async () => {});
  return added;
}

/** Proves that `passphrase` opens the disk at `path`; attached or not. RECOVERY_*, LUKS2_*, CRYPTSETUP. */
export async function checkPassphrase(path: string, passphrase: SecretBytes): Promise<DiskDescription> {
  const disk = await readDisk(path);
  await withPassphrase(disk, passphrase, async () => {});
  return disk;
}

/**
 * Takes the keyslot away, once the KMS has opened the disk: nobody is to lose the last way in. Fails as `addPassphrase`, and
 * with RECOVERY_NONE when there is no such keyslot.
 */
export async function removePassphrase(path: string, provider: KeyProvider, keyslot: string): Promise<void> {
  const { header } = await detachedDisk(path);
  if (!keyslotsOf(header).includes(keyslot)) fail('RECOVERY_NONE', { path });
  const key = await unwrapDataKey(header, provider, { timeoutMs: KMS_TIMEOUT_MS });
  key.wipe();
  const { code, said } = await cryptsetup(['luksKillSlot', path, keyslot], []);
  if (code !== 0) fail('CRYPTSETUP', { why: said });
}

/** Wraps the data key that `passphrase` gives under the key of `provider`; the KMS that wrapped it before is not asked. */
export async function rewrapByPassphrase(
  path: string,
  provider: KeyProvider,
  passphrase: SecretBytes,
): Promise<DiskDescription> {
  const disk = await detachedDisk(path);
  return withPassphrase(disk, passphrase, async (dataKey) => {
    const wrapping = wrappingOf(await wrapUnder(disk, provider, dataKey), provider.keyUri);
    return writeWrapping(disk, provider, wrapping, 'take');
  });
}

/** The disk, which nobody holds. cryptsetup would wait for ever for one that is attached. */
async function detachedDisk(path: string): Promise<DiskDescription> {
  const file = await openBacking(path, 'write');
  try {
    await withLock(file.fd, path, 'exclusive', async () => {}, DETACHED_WAIT_MS);
  } finally {
    await file.close();
  }
  return readDisk(path);
}

/** Runs `use` with the data key that the passphrase gives, when that has proved the header. It is freed afterwards. */
async function withPassphrase<T>(
  disk: DiskDescription,
  passphrase: SecretBytes,
  use: (dataKey: SecretBytes) => Promise<T>,
): Promise<T> {
  const dataKey = await dataKeyOf(disk, passphrase);
  try {
    const copy = allocSecret(dataKey.length);
    dataKey.copy(copy);
    const key: DataKey = engine().takeDataKey(copy);
    try {
      await proveHeader(disk.header, key);
    } finally {
      key.wipe();
    }
    return await use(dataKey);
  } finally {
    freeSecret(dataKey);
  }
}

async function dataKeyOf({ path, header }: DiskDescription, passphrase: SecretBytes): Promise<SecretBytes> {
  if (keyslotsOf(header).length === 0) fail('RECOVERY_NONE', { path });
  for (const [id, keyslot] of Object.entries(header.metadata.keyslots)) checkKeyslot(id, keyslot);
  let dataKey: SecretBytes | undefined;
  const args = [
    ...['luksDump', '--dump-volume-key', '--key-file', secretPath(0)],
    ...['--keyfile-size', `${passphrase.length}`, path],
  ];
  const { code, said } = await cryptsetupOutput(args, [pourBytes(passphrase)], (output, sizeBytes) => {
    try {
      dataKey = dumpedKey(output.subarray(0, sizeBytes));
    } finally {
      freeSecret(output);
    }
  });
  if (code === NO_KEY) fail('RECOVERY_PASSPHRASE', { path });
  if (code !== 0 || dataKey === undefined) fail('CRYPTSETUP', { why: said || 'it gave no data key' });
  return dataKey;
}

/** The bytes behind "MK dump:", two hex digits each, in secure memory; undefined when there are not 64. */
function dumpedKey(output: Buffer): SecretBytes | undefined {
  const label = 'MK dump:';
  const at = output.indexOf(label);
  if (at < 0) return undefined;
  const dataKey = allocSecret(DATA_KEY_BYTES);
  let digits = 0;
  for (const byte of output.subarray(at + label.length)) {
    const value = hexValue(byte);
    if (value === undefined) continue;
    if (digits === 2 * DATA_KEY_BYTES) break;
    dataKey[digits >> 1] = ((dataKey[digits >> 1] as number) << 4) | value;
    digits += 1;
  }
  if (digits === 2 * DATA_KEY_BYTES) return dataKey;
  freeSecret(dataKey);
  return undefined;
}

function hexValue(byte: number): number | undefined {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  if (byte >= 0x61 && byte <= 0x66) return byte - 0x61 + 10;
  return undefined;
}

/** A keyslot as cryptsetup makes it: the data key under a real cipher, and a passphrase that costs something to try. */
function checkKeyslot(id: string, keyslot: JsonObject): void {
  const { area, kdf } = keyslot;
  const expect = (field: string, found: unknown, expected: readonly unknown[]) => {
    if (!expected.includes(found)) {
      const facts = { keyslot: id, field, found: show(found as never), expected: expected.join(' or ') };
      fail('RECOVERY_KEYSLOT', facts);
    }
  };
  expect('type', keyslot.type, ['luks2']);
  expect('key_size', keyslot.key_size, [DATA_KEY_BYTES]);
  expect('area.encryption', isObject(area) ? area.encryption : undefined, [CIPHER]);
  expect('area.key_size', isObject(area) ? area.key_size : undefined, [32, 64]);
  expect('kdf.type', isObject(kdf) ? kdf.type : undefined, ['argon2id', 'argon2i', 'pbkdf2']);
}
