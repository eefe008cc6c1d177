/**
 * A disk made larger or smaller: its segment reaches to the end of the file, so the header stays as it is.
 *
 * Kept true: the file is never shorter than what is served of it. Growing goes file, engine, kernel; shrinking goes the
 * other way round, and only by force and while nobody uses the disk. The file's new length is on stable storage before
 * anyone is told of it. A kill between the steps leaves a disk of the file's length.
 */

import type { FileHandle } from 'node:fs/promises';
import { fail, isFailure } from '../errors.js';
import { readHeader } from '../luks2/copies.js';
import { orDiskIo } from '../luks2/file.js';
import { checkFits } from '../luks2/fits.js';
import { withLock } from '../luks2/lock.js';
import { geometryOf } from '../luks2/metadata.js';
import { tokenOf } from '../luks2/token.js';
import { openBacking, sizeOf } from './backing.js';
import { setFileSize } from './file-size.js';
import type { InService } from './in-service.js';
import { NO_DISK_OF_OURS } from './object.js';
import { PLAIN_SECTOR_BYTES, readPlain } from './plain.js';

/** `fit`: to what the file or block device has now. Payload bytes, as a decimal, negative to take away. */
export type SizeChange = { readonly kind: 'fit' } | { readonly kind: 'to' | 'by'; readonly bytes: string };

export interface Resized {
  readonly uuid: string;
  readonly path: string;
  /** Payload bytes, decimal. */
  readonly wasBytes: string;
  readonly sizeBytes: string;
}

/** What serves a disk beside the engine, as a change of size has to know it. */
export interface Front {
  /** Who uses the disk, as in "mounted on /mnt"; undefined when nobody does. */
  user(): string | undefined;
  /** Shows the new size to whoever uses the disk. */
  show(sizeBytes: bigint): Promise<void>;
}

/** The file of a disk, opened to change its length. */
interface Opened {
  readonly file: FileHandle;
  readonly path: string;
  readonly uuid: string;
  readonly offsetBytes: bigint;
  readonly sectorSize: number;
  /** Payload bytes that the file has room for. */
  readonly roomBytes: bigint;
}

/**
 * Resizes a disk that nobody serves. `user`: who waits for it nevertheless, and keeps it from being made smaller. Fails
 * with DISK_IN_USE, DISK_RESIZE, DISK_RESIZE_BUSY, DISK_IO or LUKS2_*; then nothing was changed.
 */
export async function resizeDetached(
  path: string,
  change: SizeChange,
  force: boolean,
  user?: string,
): Promise<Resized> {
  const file = await openBacking(path, 'write');
  try {
    return await withLock(file.fd, path, 'exclusive', async () => {
      const disk = await inspect(file, path);
      const goalBytes = goalOf(disk, disk.roomBytes, change);
      if (goalBytes < disk.roomBytes) checkShrink(disk, goalBytes, force, user);
      await setLength(disk, goalBytes);
      return resized(disk, disk.roomBytes, goalBytes);
    });
  } finally {
    await file.close();
  }
}

/** Resizes a disk in service, one change after the other. */
export class Resizer {
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly served: InService,
    private readonly front: Front,
  ) {}

  /** Fails with DISK_RESIZE, DISK_RESIZE_BUSY or DISK_IO; then the disk serves what it served. */
  resize(change: SizeChange, force: boolean): Promise<Resized> {
    const next = this.#last.then(() => this.#resize(change, force));
    this.#last = next.catch(() => {});
    return next;
  }

  async #resize(change: SizeChange, force: boolean): Promise<Resized> {
    const { path, uuid } = this.served.facts;
    if (this.served.readOnly) fail('DISK_RESIZE', { path, why: 'it is served read-only' });
    const file = await openBacking(path, 'write');
    try {
      const disk = await inspect(file, path);
      if (disk.uuid !== uuid) fail('DISK_RESIZE', { path, why: 'another disk stands there now' });
      const wasBytes = this.served.sizeBytes;
      const goalBytes = goalOf(disk, wasBytes, change);
      if (goalBytes < wasBytes) await this.#shrink(disk, goalBytes, force);
      else await this.#grow(disk, goalBytes, force);
      return resized(disk, wasBytes, goalBytes);
    } finally {
      await file.close();
    }
  }

  async #grow(disk: Opened, goalBytes: bigint, force: boolean): Promise<void> {
    if (goalBytes < disk.roomBytes) checkShrink(disk, goalBytes, force, undefined);
    await setLength(disk, goalBytes);
    this.served.resize(goalBytes);
    await this.front.show(goalBytes);
  }

  async #shrink(disk: Opened, goalBytes: bigint, force: boolean): Promise<void> {
    checkShrink(disk, goalBytes, force, this.front.user());
    await this.front.show(goalBytes);
    this.served.resize(goalBytes);
    await setLength(disk, goalBytes);
  }
}

async function inspect(file: FileHandle, path: string): Promise<Opened> {
  try {
    return await inspectEncrypted(file, path);
  } catch (error) {
    const plain = isFailure(error, ...NO_DISK_OF_OURS) ? await readPlain(path) : undefined;
    if (plain === undefined) throw error;
    const { uuid, sizeBytes } = plain;
    return {
      file,
      path,
      uuid,
      offsetBytes: 0n,
      sectorSize: Number(PLAIN_SECTOR_BYTES),
      roomBytes: sizeBytes,
    };
  }
}

async function inspectEncrypted(file: FileHandle, path: string): Promise<Opened> {
  const { header } = await readHeader(file.fd, path);
  tokenOf(header);
  const { offsetBytes, sectorSize } = geometryOf(header);
  const roomBytes = checkFits(header, await sizeOf(file, path));
  return { file, path, uuid: header.uuid, offsetBytes, sectorSize, roomBytes };
}

/** Whole sectors, rounded up as at birth. */
function goalOf(disk: Opened, presentBytes: bigint, change: SizeChange): bigint {
  if (change.kind === 'fit') return disk.roomBytes;
  const sector = BigInt(disk.sectorSize);
  const wanted = (change.kind === 'by' ? presentBytes : 0n) + BigInt(change.bytes);
  if (wanted <= 0n) fail('DISK_RESIZE', { path: disk.path, why: `${wanted} bytes would be left` });
  return ((wanted + sector - 1n) / sector) * sector;
}

function checkShrink(disk: Opened, goalBytes: bigint, force: boolean, user: string | undefined): void {
  const { path, roomBytes } = disk;
  if (!force) {
    const why = `what stands in its last ${roomBytes - goalBytes} bytes would be gone, and there is no --force`;
    fail('DISK_RESIZE', { path, why });
  }
  if (user !== undefined) fail('DISK_RESIZE_BUSY', { path, why: user });
}

async function setLength(disk: Opened, goalBytes: bigint): Promise<void> {
  const { file, path } = disk;
  if (goalBytes === disk.roomBytes) return orDiskIo(path, file.sync());
  if (!(await file.stat()).isFile()) {
    fail('DISK_RESIZE', { path, why: 'it is a block device, which is resized by what made it' });
  }
  await setFileSize(file, path, disk.offsetBytes + goalBytes);
  await orDiskIo(path, file.sync());
}

const resized = ({ uuid, path }: Opened, wasBytes: bigint, sizeBytes: bigint): Resized => ({
  uuid,
  path,
  wasBytes: `${wasBytes}`,
  sizeBytes: `${sizeBytes}`,
});
