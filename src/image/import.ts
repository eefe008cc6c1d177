/**
 * A disk image of others as an image of the pool: raw, or in a format that qemu-img reads.
 *
 * Kept true: the image gets its name when all of it was read back and compared with its source; killed at any time nothing
 * stands under the name. What ends encrypted is enciphered on its way: between the file that is imported and the image no
 * plaintext lies on storage.
 */

import { statfs } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { madeAside } from '../disk/aside.js';
import type { BulkOptions, BulkProgress } from '../disk/bulk.js';
import { createDisk, type NewDisk, type Unpublished } from '../disk/create.js';
import { CONVERTED_SECTOR_BYTES, encryptTo } from '../disk/encrypt-to.js';
import { setFileSize } from '../disk/file-size.js';
import { importPlain } from '../disk/import-plain.js';
import { readObject, type StoredObject } from '../disk/object.js';
import { KMS_TIMEOUT_MS } from '../disk/patience.js';
import { type NewPlain, newLabel, PLAIN_SECTOR_BYTES, writeLabel } from '../disk/plain.js';
import { type DataKey, type DiskOptions, engine } from '../engine/engine.js';
import { fail } from '../errors.js';
import type { KeyProvider, ProviderEnvironment } from '../kms/provider.js';
import { canonicalKeyUri, openProvider } from '../kms/registry.js';
import { orDiskIo } from '../luks2/file.js';
import { takeLock } from '../luks2/lock.js';
import type { Placed } from '../pool/from.js';
import { mayMake } from '../pool/may.js';
import { type ForeignImage, recognize, withForeign } from './foreign.js';
import type { ImageFormat } from './format.js';
import type { Offer } from './offer.js';
import { firstLine, mustRun, nodeOf, qemuImg } from './qemu-img.js';

export interface ImportWish {
  /** Where the image is made and what it is called. */
  readonly placed: Placed;
  readonly tags: Readonly<Record<string, string>>;
  /** Undefined: what the file says that it is. */
  readonly format: ImageFormat | undefined;
  /** As the user names it; undefined: a plain image. */
  readonly keyUri: string | undefined;
  /** Of an encrypted one: what is a hole in the source is one in the image. */
  readonly discard: boolean;
  readonly environment: ProviderEnvironment;
  readonly bulk: Omit<BulkOptions, 'timeoutMs'>;
}

/** Makes the image of the file, which stays. POLICY_DENIED, IMAGE_*, DISK_*, CONVERT_*, KEY_URI_* or KMS_*: nothing was made. */
export async function importImage(path: string, wish: ImportWish): Promise<StoredObject> {
  const { placed, tags, environment } = wish;
  const keyUri = wish.keyUri === undefined ? null : canonicalKeyUri(wish.keyUri);
  const made: NewPlain = { path: placed.path, name: placed.name, kind: 'image', source: '', tags };
  const toBe = { ...made, name: placed.name || basename(placed.path), keyUri };
  await mayMake('ecs:ImportImage', toBe, environment);
  const format = await recognize(path, wish.format);
  if (keyUri === null) await importAsPlain(path, format, made, wish);
  else await importUnder(keyUri, path, format, made, wish);
  return readObject(placed.path);
}

async function importAsPlain(path: string, format: ImageFormat, made: NewPlain, wish: ImportWish) {
  if (format === 'raw') return importPlain(path, made);
  const named = newLabel(made);
  const { bulk } = wish;
  return withForeign(path, format, bulk.signal, (image) =>
    madeAside(made.path, async ({ file, path: asidePath }) => {
      await setFileSize(file, made.path, image.sizeBytes);
      writeLabel(asidePath, named);
      await takeLock(file.fd, made.path, 'shared');
      const sectorSize = Number(PLAIN_SECTOR_BYTES) as 512;
      const { sizeBytes } = image;
      const target = { path: asidePath, offsetBytes: 0n, sizeBytes, sectorSize, plain: true };
      await fill(image, { ...target, holes: true, discard: true }, undefined, made.path, bulk);
    }),
  );
}

async function importUnder(
  keyUri: string,
  path: string,
  format: ImageFormat,
  made: NewPlain,
  { environment, discard, bulk }: ImportWish,
): Promise<void> {
  const provider = await openProvider(keyUri, { ...environment, namedByOwner: true });
  try {
    const options = { ...bulk, timeoutMs: KMS_TIMEOUT_MS };
    const target = { ...made, discard };
    if (format === 'raw') await encryptTo(path, target, provider, options);
    else {
      await withForeign(path, format, bulk.signal, (image) => encipher(image, target, provider, options));
    }
  } finally {
    await provider.close();
  }
}

async function encipher(
  image: ForeignImage,
  made: NewPlain & { discard: boolean },
  provider: KeyProvider,
  options: BulkOptions,
): Promise<void> {
  const { sizeBytes } = image;
  if (!made.discard) await checkRoom(image, made.path);
  const disk: NewDisk = { ...made, sizeBytes, sectorSize: CONVERTED_SECTOR_BYTES };
  await createDisk(disk, provider, options.timeoutMs, async (unpublished) => {
    const { file, path, key } = unpublished;
    // Still held against those who sweep, and open to the engine.
    await takeLock(file.fd, path, 'shared');
    await fill(image, engineOptionsOf(unpublished), key, path, options);
  });
}

const engineOptionsOf = ({ file, offsetBytes, sizeBytes, sectorSize, holes }: Unpublished) => ({
  path: `/proc/self/fd/${file.fd}`,
  ...{ offsetBytes, sizeBytes, sectorSize, holes },
  discard: holes,
});

/** Without holes every byte is written, however little there is in the source. */
async function checkRoom({ path, sizeBytes }: ForeignImage, target: string): Promise<void> {
  const { bavail, bsize } = await orDiskIo(target, statfs(dirname(target), { bigint: true }));
  const room = bavail * bsize;
  if (sizeBytes <= room) return;
  const why = `enciphered without holes it takes ${sizeBytes} bytes, there is room for ${room} (--discard keeps its holes)`;
  fail('IMAGE_REFUSED', { path, why });
}

/** Lets qemu-img write what the image holds into the payload, and compare the two then. */
async function fill(
  image: ForeignImage,
  target: Omit<DiskOptions, 'readOnly'>,
  key: DataKey | undefined,
  path: string,
  bulk: Omit<BulkOptions, 'timeoutMs'>,
): Promise<void> {
  const { sizeBytes, sectorSize } = target;
  const disk = engine().openDisk({ ...target, readOnly: false });
  try {
    disk.goLive(key);
    const offer = { disk, sizeBytes, sectorSize };
    await copy(image, { ...offer, readOnly: false }, target.holes === true, bulk);
    await compare(image, { ...offer, readOnly: true }, path, bulk);
  } finally {
    await disk.close();
  }
}

const jobOf = (
  image: ForeignImage,
  to: Offer,
  phase: BulkProgress['phase'],
  { onProgress, signal }: Omit<BulkOptions, 'timeoutMs'>,
) => ({
  path: image.path,
  offers: [image.offer, to],
  apart: true,
  onShare: (share: number) => {
    const doneBytes = BigInt(Math.round(Number(image.sizeBytes) * share));
    onProgress?.({ phase, doneBytes, totalBytes: image.sizeBytes });
  },
  ...(signal ? { signal } : {}),
});

async function copy(image: ForeignImage, to: Offer, zero: boolean, bulk: Omit<BulkOptions, 'timeoutMs'>) {
  await mustRun({
    ...jobOf(image, to, 'copy', bulk),
    words: ([from = 0, fd = 0]) => [
      ...['convert', '-p', '-n', '-m', '16', '-W', ...(zero ? ['--target-is-zero'] : [])],
      ...[nodeOf(image.format, from), '--target-image-opts', nbdOptions(fd)],
    ],
  });
}

const nbdOptions = (fd: number) => `driver=raw,file.driver=nbd,file.server.type=fd,file.server.str=${fd}`;

async function compare(image: ForeignImage, to: Offer, path: string, bulk: Omit<BulkOptions, 'timeoutMs'>) {
  const job = jobOf(image, to, 'verify', bulk);
  const ended = await qemuImg({
    ...job,
    words: ([from = 0, fd = 0]) => ['compare', '-p', nodeOf(image.format, from), nodeOf('raw', fd)],
  });
  if (ended.code === 0) return;
  const at = /mismatch at offset (\d+)/.exec(ended.out)?.[1];
  if (ended.code === 1 && at !== undefined) fail('CONVERT_DIFFERS', { path, atBytes: BigInt(at) });
  fail('IMAGE_TOOL', { path: image.path, said: firstLine(ended) });
}
