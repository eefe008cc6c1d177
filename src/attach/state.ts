/**
 * What is known of attachments, under /run/sealdisk: one folder per disk, named by its UUID.
 *
 *   state.json     what `list` and `info` show, and what a new server needs to take the device over
 *   control.sock   where the server answers (control.ts)
 *   snapshots/     copies of the disk that are being made (snapshots.ts)
 *   log            the server's and the supervisor's JSON lines
 *   lock           flock, held by the supervisor and its servers (or by sealdisk serve) until the last of them ends
 *
 * SEALDISK_RUN names another folder; without root it is $XDG_RUNTIME_DIR/sealdisk. Writes are atomic; nothing here is secret.
 */

import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { flockSync } from 'fs-ext';
import type { OnKeyLoss } from '../disk/key-lease.js';
import { errnoOf, fail } from '../errors.js';

/** What the owner asked for: all that a server needs to serve the disk, and to take it over from a dead one. */
export interface AttachRequest {
  readonly path: string;
  readonly uuid: string;
  readonly poolDir: string;
  /** N of /dev/nbdN; the kernel chooses when null. */
  readonly index: number | null;
  readonly readOnly: boolean;
  readonly direct: boolean;
  readonly discard: boolean;
  /** Key URI that the disk must be wrapped by; null: whatever it names. */
  readonly expectedKey: string | null;
  readonly onKeyLoss: OnKeyLoss;
  readonly checkIntervalMs: number;
  /** null: for ever. */
  readonly graceMs: number | null;
  readonly kmsWaitMs: number;
  /** A second server waits for the first to die. */
  readonly standby: boolean;
  readonly logLevel: string;
}

/** A disk in service: attached to the kernel (`index`, `device`) or on a socket (`address`). */
export interface AttachmentState {
  readonly request: AttachRequest;
  readonly index: number | null;
  readonly device: string | null;
  readonly address: string | null;
  readonly serverPid: number;
  readonly keyUri: string;
  readonly keyId: string;
  readonly name: string;
  readonly sizeBytes: string;
  readonly attachedAt: string;
}

function runDir(): string {
  if (process.env.SEALDISK_RUN) return process.env.SEALDISK_RUN;
  if (process.getuid?.() === 0) return '/run/sealdisk';
  return join(process.env.XDG_RUNTIME_DIR ?? tmpdir(), 'sealdisk');
}

const folderOf = (uuid: string) => join(runDir(), uuid);

export const controlPath = (uuid: string) => join(folderOf(uuid), 'control.sock');
export const logPath = (uuid: string) => join(folderOf(uuid), 'log');
const statePath = (uuid: string) => join(folderOf(uuid), 'state.json');
export const snapshotsPath = (uuid: string) => join(folderOf(uuid), 'snapshots');
const lockPath = (uuid: string) => join(folderOf(uuid), 'lock');

/** Makes the attachment's folder. */
export function prepareFolder(uuid: string): void {
  try {
    mkdirSync(folderOf(uuid), { recursive: true, mode: 0o700 });
  } catch (error) {
    fail('DISK_IO', { path: folderOf(uuid), errno: errnoOf(error) }, error);
  }
}

export const writeState = (state: AttachmentState): Promise<void> =>
  writeWhole(statePath(state.request.uuid), state);

/** Writes `value` as JSON, whole or not at all. */
export async function writeWhole(path: string, value: unknown): Promise<void> {
  const aside = `${path}.new`;
  const file = await open(aside, 'w', 0o600);
  try {
    await file.writeFile(`${JSON.stringify(value, null, 2)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(aside, path);
}

/** The recorded attachment of the disk, or undefined: none, or one that never came to be. */
export function readState(uuid: string): AttachmentState | undefined {
  try {
    return JSON.parse(readFileSync(statePath(uuid), 'utf8')) as AttachmentState;
  } catch {
    return undefined;
  }
}

/** All recorded attachments, by device. */
export function readStates(): AttachmentState[] {
  if (!existsSync(runDir())) return [];
  return readdirSync(runDir())
    .map(readState)
    .filter((state) => state !== undefined)
    .sort((a, b) => (a.index ?? Number.MAX_SAFE_INTEGER) - (b.index ?? Number.MAX_SAFE_INTEGER));
}

export function removeFolder(uuid: string): void {
  rmSync(folderOf(uuid), { recursive: true, force: true });
}

export interface Lock {
  /** A process that inherits it holds the lock, too. */
  readonly fd: number;
  release(): void;
}

/** Makes the attachment's folder and takes its lock, until this process ends or releases it; undefined when it is held. */
export function takeLock(uuid: string): Lock | undefined {
  for (;;) {
    prepareFolder(uuid);
    const fd = openSync(lockPath(uuid), 'w', 0o600);
    try {
      flockSync(fd, 'exnb');
    } catch (error) {
      closeSync(fd);
      if (errnoOf(error) === 'EAGAIN' || errnoOf(error) === 'EWOULDBLOCK') return undefined;
      throw error;
    }
    // An attachment that ended meanwhile took its folder away: what is locked then is no longer what others will lock.
    if (fstatSync(fd).ino === statSync(lockPath(uuid), { throwIfNoEntry: false })?.ino) {
      return { fd, release: () => closeSync(fd) };
    }
    closeSync(fd);
  }
}
