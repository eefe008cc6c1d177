/**
 * One encrypted file that holds the whole embedded KMS, root key and all, and the way back into an empty folder.
 *
 *   "SDKBACK1" | passes (4) | memory bytes (8) | salt (16) | secretstream header (24) | chunks, each length (4), ciphertext
 *
 * XChaCha20-Poly1305 secretstream under Argon2id of a passphrase; the bytes before the first chunk are its additional
 * data, and the last chunk is marked, so a file that was altered, cut or added to is refused. Inside: for each file a
 * line of JSON {name, sizeBytes} and its bytes. Records are as they lie in the store, sealed; root keys are bare.
 * It is one moment of the store: the lock is held while records are read, not while they are written out. A backup and a
 * restored folder come into being whole, under their names, or not at all.
 */

import { constants } from 'node:fs';
import { type FileHandle, link, mkdir, open, readdir, rename, rm, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf, fail } from '../../errors.js';
import type { SecretBytes } from '../provider.js';
import { appendAudit } from './audit.js';
import { headPath } from './audit-head.js';
import { logPath } from './audit-log.js';
import { chunksInto, readChunks } from './backup-stream.js';
import { Deadline } from './deadline.js';
import { syncFolder, writeSynced } from './durable.js';
import { readWhole } from './files.js';
import { withLock } from './lock.js';
import { type Argon2, writeDescription } from './root/description.js';
import { acquireRoot } from './root/held.js';
import { newArgon2 } from './root/passphrase.js';
import { protect, type Wish } from './root/protection.js';
import { sealedFiles } from './root/rotate.js';
import { KEY_BYTES } from './seal.js';
import { copyOf, freeSecret } from './secret.js';
import { Store } from './store.js';
import { sweepSome } from './sweep.js';

const TIMEOUT_MS = 60_000;
const READ_AT_ONCE = 64;
/** Roots stand first, under these names. */
const CURRENT = 'root current';
const OLD = 'root old';
const NAME = /^(audit\.(log|head)|[a-z]+\/[A-Za-z0-9.-]+)$/;

/**
 * Writes the KMS in `dir` to the new file `path` under `passphrase`, which is freed. How many files it holds. The file
 * says how its passphrase is stretched; tests that make many take less for it.
 */
export async function backup(
  dir: string,
  path: string,
  passphrase: SecretBytes,
  argon2: Argon2 = newArgon2(),
): Promise<number> {
  const aside = `${path}.new`;
  await appendAudit(dir, { operation: 'BackupKms', key: '', outcome: 'ok' }, true);
  const parts = await snapshot(dir);
  const file = await create(aside);
  try {
    const stream = await chunksInto(file, passphrase, argon2);
    for (const { name, bytes } of parts) await stream.entry(name, bytes);
    await stream.end();
    await file.sync();
  } finally {
    await file.close();
    for (const { bytes, secret } of parts) if (secret) freeSecret(bytes);
  }
  try {
    await link(aside, path); // unlike a rename it takes nobody's place
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') fail('DISK_EXISTS', { path }, error);
    fail('DISK_IO', { path, errno: errnoOf(error) }, error);
  } finally {
    await unlink(aside);
  }
  await syncFolder(dirname(path));
  return parts.length;
}

interface Part {
  readonly name: string;
  readonly bytes: Buffer;
  readonly secret: boolean;
}

/** The store at one moment. Its roots are copies in secure memory. */
async function snapshot(dir: string): Promise<Part[]> {
  return new Store(dir).change('local:', new Deadline(TIMEOUT_MS, 'local:'), false, async () => {
    const parts: Part[] = [];
    const root = await acquireRoot(dir);
    try {
      parts.push({ name: CURRENT, bytes: copyOf(root.keys.current), secret: true });
      if (root.keys.old) parts.push({ name: OLD, bytes: copyOf(root.keys.old), secret: true });
    } finally {
      root.release();
    }
    // The head before the log: a log with more lines than its head is whole.
    for (const path of [headPath(dir), logPath(dir)]) {
      const bytes = await readWhole(path).catch(() => undefined);
      if (bytes) parts.push({ name: path.slice(dir.length + 1), bytes, secret: false });
    }
    const names = await sealedFiles(dir);
    for (let at = 0; at < names.length; at += READ_AT_ONCE) {
      const some = names.slice(at, at + READ_AT_ONCE);
      const read = await Promise.all(some.map((name) => readWhole(join(dir, name))));
      for (const [i, bytes] of read.entries())
        parts.push({ name: some[i] as string, bytes: Buffer.from(bytes), secret: false });
    }
    return parts;
  });
}

async function create(path: string): Promise<FileHandle> {
  try {
    await unlink(path); // of a backup that was killed
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') fail('DISK_IO', { path, errno: errnoOf(error) }, error);
  }
  try {
    return await open(path, 'wx', 0o600);
  } catch (error) {
    return fail('DISK_IO', { path, errno: errnoOf(error) }, error);
  }
}

/**
 * Makes the KMS folder `dir`, which is not there or empty, of the backup in `path`; the root key is kept as `wish` says.
 * How many files came back. Fails with KMS_BACKUP or KMS_NOT_EMPTY, and then nothing is restored.
 */
export async function restore(
  dir: string,
  path: string,
  passphrase: SecretBytes,
  wish: Wish,
): Promise<number> {
  const parent = dirname(dir);
  const aside = `${dir}.restore`;
  await mkdir(parent, { recursive: true });
  await mkdir(aside, { recursive: true, mode: 0o700 });
  return withLock(aside, new Deadline(TIMEOUT_MS, 'local:'), async () => {
    try {
      await checkEmpty(dir);
      for (const name of await readdir(aside)) {
        if (name !== 'lock') await rm(join(aside, name), { recursive: true });
      }
      const count = await unpack(aside, path, passphrase, wish);
      await unlink(join(aside, 'lock'));
      await rename(aside, dir).catch((error) => {
        if (['ENOTEMPTY', 'EEXIST'].includes(errnoOf(error))) fail('KMS_NOT_EMPTY', { path: dir }, error);
        throw error;
      });
      await syncFolder(parent);
      await new Store(dir).change('local:', new Deadline(TIMEOUT_MS, 'local:'), false, sweepSome);
      await appendAudit(dir, { operation: 'RestoreKms', key: '', outcome: 'ok' }, true);
      return count;
    } catch (error) {
      await rm(aside, { recursive: true, force: true });
      throw error;
    }
  });
}

async function checkEmpty(dir: string): Promise<void> {
  const names = await readdir(dir).catch((error) => {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  });
  if (names.length > 0) fail('KMS_NOT_EMPTY', { path: dir });
}

async function unpack(aside: string, path: string, passphrase: SecretBytes, wish: Wish): Promise<number> {
  const file = await open(path, constants.O_RDONLY).catch((error) => {
    freeSecret(passphrase);
    return fail('KMS_BACKUP', { path, why: errnoOf(error) }, error);
  });
  const roots = new Map<string, SecretBytes>();
  const folders = new Set(['keys', 'aside']);
  for (const folder of folders) await mkdir(join(aside, folder), { mode: 0o700 });
  let count = 0;
  try {
    for await (const { name, bytes } of readChunks(file, path, passphrase)) {
      if (name === CURRENT || name === OLD) {
        if (bytes.length !== KEY_BYTES)
          fail('KMS_BACKUP', { path, why: `its root key has ${bytes.length} bytes` });
        roots.set(name, copyOf(bytes));
        bytes.fill(0);
        continue;
      }
      if (!NAME.test(name)) fail('KMS_BACKUP', { path, why: `"${name}" is no file of a KMS folder` });
      const folder = name.includes('/') ? dirname(name) : undefined;
      if (folder !== undefined && !folders.has(folder)) {
        await mkdir(join(aside, folder), { mode: 0o700 });
        folders.add(folder);
      }
      await writeSynced(join(aside, name), bytes);
      count += 1;
    }
    await writeRoots(aside, path, roots, wish);
  } finally {
    await file.close();
    for (const root of roots.values()) freeSecret(root);
  }
  for (const folder of folders) await syncFolder(join(aside, folder));
  await syncFolder(aside);
  return count;
}

/** A backup in the middle of a rotation has two; the next rotation goes on with it. */
async function writeRoots(
  aside: string,
  path: string,
  roots: ReadonlyMap<string, SecretBytes>,
  wish: Wish,
): Promise<void> {
  const [current, old] = [roots.get(CURRENT), roots.get(OLD)];
  if (current === undefined) fail('KMS_BACKUP', { path, why: 'it has no root key' });
  const generation = old === undefined ? 1 : 2;
  await writeDescription(aside, {
    format: 1,
    current: await protect(aside, current, generation, wish),
    old: old === undefined ? null : await protect(aside, old, 1, wish),
  });
}
