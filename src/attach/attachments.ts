/**
 * Attach, detach, list, info: what the command line asks of attachments.
 *
 * Kept true: what an attach that was killed leaves is cleaned up, or taken over, by the next one; a detach whose server
 * is gone takes the kernel's device away itself.
 */

import { type ChildProcess, fork } from 'node:child_process';
import { existsSync, openSync, realpathSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { readObject } from '../disk/object.js';
import { engine, type GateState } from '../engine/engine.js';
import { fail, isFailure, SealdiskError } from '../errors.js';
import { UUID } from '../luks2/label.js';
import { mayTouch } from '../pool/may.js';
import { askControl, type ControlStatus } from './control.js';
import {
  devicePath,
  findDevice,
  hasNbdDriver,
  indexOf,
  isConfigured,
  ownerOf,
  userOf,
} from './kernel-device.js';
import { dropUnfinished } from './snapshots.js';
import {
  type AttachmentState,
  type AttachRequest,
  logPath,
  prepareFolder,
  readState,
  readStates,
  removeFolder,
  takeLock,
} from './state.js';
import type { ServerReport } from './supervisor.js';

const SUPERVISOR = fileURLToPath(new URL('../../dist/bin/supervisor-main.cjs', import.meta.url));
const STATUS_TIMEOUT_MS = 2_000;
const DETACH_TIMEOUT_MS = 60_000;
/** How long a server that is just being replaced may take to answer a detach. */
const RETURN_TIMEOUT_MS = 10_000;

export interface Attachment {
  readonly uuid: string;
  readonly path: string;
  readonly name: string;
  /** /dev/nbdN, or null for a disk that is served on a socket. */
  readonly device: string | null;
  /** The NBD URI of a disk that is served on a socket. */
  readonly address: string | null;
  readonly sizeBytes: string;
  readonly readOnly: boolean;
  readonly serverPid: number | null;
  readonly keyUri: string;
  readonly keyId: string;
  readonly gate: GateState;
  readonly reason: string;
  readonly onKeyLoss: string;
  readonly attachedAt: string;
  readonly io: Omit<ControlStatus, 'gate' | 'lease' | 'reason' | 'serverPid'> | null;
}

/** Attaches the disk; resolves when the device is usable. Fails as the server did. */
export async function attach(request: Omit<AttachRequest, 'uuid'>): Promise<AttachmentState> {
  if (process.getuid?.() !== 0) fail('ATTACH_NOT_ROOT', { what: 'attach' });
  const object = await readObject(request.path);
  const { poolDir, expectedKey } = request;
  const environment = { poolDir, env: process.env, namedByOwner: expectedKey !== null };
  await mayTouch('ecs:AttachDisk', object, environment);
  if (!hasNbdDriver()) fail('KERNEL_NO_NBD', { why: 'no /sys/module/nbd' });
  const { uuid } = object;
  const known = await aliveState(uuid);
  if (known) fail('ATTACH_ALREADY', { path: request.path, device: whereOf(known) });
  prepareFolder(uuid);
  const log = openSync(logPath(uuid), 'a', 0o600);
  const child = fork(SUPERVISOR, [JSON.stringify({ ...request, uuid })], {
    detached: true,
    stdio: ['ignore', log, log, 'ipc'],
    cwd: '/',
  });
  return outcomeOf(child);
}

const whereOf = (state: AttachmentState) => state.device ?? state.address ?? 'a disk of another kind';

function outcomeOf(child: ChildProcess): Promise<AttachmentState> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void) => {
      child.removeAllListeners();
      if (child.connected) child.disconnect();
      child.unref();
      act();
    };
    child.once('message', (report: ServerReport) => {
      if (report.kind === 'ready') settle(() => resolve(report.state));
      else settle(() => reject(SealdiskError.fromJSON(report.error)));
    });
    child.once('error', (error) => settle(() => reject(error)));
    child.once('exit', (code, signal) =>
      settle(() => reject(new SealdiskError('ATTACH_SERVER_DIED', { how: signal ?? `exit code ${code}` }))),
    );
  });
}

/** The attachment of the disk, when a supervisor or a server lives. */
async function aliveState(uuid: string): Promise<AttachmentState | undefined> {
  const state = readState(uuid);
  if (!state) return undefined;
  return (await isAlive(uuid)) ? state : undefined;
}

async function isAlive(uuid: string): Promise<boolean> {
  const lock = takeLock(uuid);
  if (!lock) return true;
  lock.release();
  return (await askControl(uuid, { verb: 'status' }, STATUS_TIMEOUT_MS)) !== undefined;
}

export interface Detached {
  readonly uuid: string;
  readonly device: string;
}

/** Detaches by device or disk path. Fails with ATTACH_NOT_ATTACHED, or with ATTACH_DEVICE_BUSY unless `force`. */
export async function detach(target: string, force: boolean): Promise<Detached> {
  if (process.getuid?.() !== 0) fail('ATTACH_NOT_ROOT', { what: 'detach' });
  const attached = await deviceOf(target);
  const { uuid } = attached;
  const returnEndsMs = performance.now() + RETURN_TIMEOUT_MS;
  for (;;) {
    const done = await askControl(uuid, { verb: 'detach', force }, DETACH_TIMEOUT_MS);
    if (done !== undefined) return attached;
    const lock = takeLock(uuid);
    if (lock) {
      try {
        takeAway(uuid, force);
      } finally {
        lock.release();
      }
      return attached;
    }
    if (performance.now() >= returnEndsMs)
      fail('ATTACH_TIMEOUT', { what: 'detach', timeoutMs: RETURN_TIMEOUT_MS });
    await delay(100);
  }
}

/** Nobody serves the device any more: disconnect it from here. */
function takeAway(uuid: string, force: boolean): void {
  const index = findDevice(uuid);
  if (index !== undefined) {
    const user = userOf(index);
    if (user && !force) fail('ATTACH_DEVICE_BUSY', { device: devicePath(index), why: user });
    engine().nbdDisconnect(index);
  }
  dropUnfinished(uuid);
  removeFolder(uuid);
}

/** The device that is meant, recorded or left by an attach that was killed before it could record it. */
async function deviceOf(target: string): Promise<Detached> {
  const state = await findState(target).catch((error) => {
    if (isFailure(error, 'ATTACH_NOT_ATTACHED')) return undefined;
    throw error;
  });
  if (state?.device) return { uuid: state.request.uuid, device: state.device };
  const uuid = state || !existsSync(target) ? undefined : await uuidOf(target);
  const index = uuid === undefined ? undefined : findDevice(uuid);
  if (uuid === undefined || index === undefined) fail('ATTACH_NOT_ATTACHED', { target });
  return { uuid, device: devicePath(index) };
}

/** The UUID that a device was connected for, or that a disk has. */
async function uuidOf(target: string): Promise<string | undefined> {
  const index = indexOf(target);
  // What another program connected a device with need not be one.
  if (index !== undefined) return UUID.exec(ownerOf(index) ?? '')?.[0];
  return (await readObject(target)).uuid;
}

async function findState(target: string): Promise<AttachmentState> {
  const index = indexOf(target);
  const states = recorded();
  if (index !== undefined) {
    const state = states.find((one) => one.index === index);
    return state ?? fail('ATTACH_NOT_ATTACHED', { target });
  }
  const path = existsSync(target) ? realpathSync(target) : target;
  const byPath = states.find((one) => one.request.path === path || one.request.uuid === target);
  return byPath ?? fail('ATTACH_NOT_ATTACHED', { target });
}

/** What is recorded and not over: a disk on a socket is over with its process, a device waits for another server. */
const recorded = (): AttachmentState[] =>
  readStates().filter((state) => state.index !== null || existsSync(`/proc/${state.serverPid}`));

/** All attachments, with what their servers say of themselves. */
export function list(): Promise<Attachment[]> {
  return Promise.all(recorded().map(describe));
}

/** The attachment of a device or disk path; undefined when it has none. */
export async function find(target: string): Promise<Attachment | undefined> {
  try {
    return await describe(await findState(target));
  } catch (error) {
    if (isFailure(error, 'ATTACH_NOT_ATTACHED')) return undefined;
    throw error;
  }
}

/** A server that does not answer holds I/O as a hung gate does. */
async function describe(state: AttachmentState): Promise<Attachment> {
  const { request } = state;
  const status = await askControl<ControlStatus>(request.uuid, { verb: 'status' }, STATUS_TIMEOUT_MS);
  const { gate, lease: _, reason, serverPid, ...io } = status ?? noServer(state);
  return {
    uuid: request.uuid,
    path: request.path,
    name: state.name,
    device: state.device,
    address: state.address,
    sizeBytes: state.sizeBytes,
    readOnly: request.readOnly,
    serverPid,
    keyUri: state.keyUri,
    keyId: state.keyId,
    gate,
    reason,
    onKeyLoss: request.onKeyLoss,
    attachedAt: state.attachedAt,
    io: status ? (io as Attachment['io']) : null,
  };
}

function noServer(state: AttachmentState) {
  const reason =
    state.index !== null && isConfigured(state.index)
      ? 'no server answers; one is being started, or attach again'
      : 'the server is gone';
  return { gate: 'hung' as const, lease: 'lost' as const, reason, serverPid: null };
}
