/**
 * The server process of one attachment: serves the disk to the kernel, answers on the control socket.
 *
 * Its life: read the disk, get the key, pair the sockets, connect the device (or take it over from a server that died),
 * record the state, report `ready`. It ends with exit code 0 after a detach, and its supervisor starts another after any
 * other end. It holds the only plaintext data key, in locked memory.
 */

import type { Server } from 'node:net';
import type { InService } from '../disk/in-service.js';
import { readObject, type StoredObject } from '../disk/object.js';
import { putInService, servedReadOnly } from '../disk/put-in-service.js';
import type { ServedDiskOptions } from '../disk/served-disk.js';
import { engine, type GateState, type KernelConnect, type KernelDevice } from '../engine/engine.js';
import { fail } from '../errors.js';
import type { Log } from '../log.js';
import { type ControlRequest, serveControl } from './control.js';
import {
  DEAD_CONNECTION_TIMEOUT_S,
  devicePath,
  findDevice,
  isConfigured,
  setIoTimeout,
  userOf,
  waitUsable,
} from './kernel-device.js';
import { Snapshots } from './snapshots.js';
import { type AttachmentState, type AttachRequest, removeFolder, writeState } from './state.js';
import { Verbs } from './verbs.js';

const USABLE_TIMEOUT_MS = 10_000;

export class AttachmentServer {
  #control: Server | undefined;
  #index: number | undefined;
  #detaching = false;
  readonly #verbs: Verbs;

  private constructor(
    private readonly request: AttachRequest,
    private readonly served: InService,
    private readonly snapshots: Snapshots,
    private readonly log: Log,
    private readonly onDetached: () => void,
  ) {
    const { poolDir, expectedKey } = request;
    this.#verbs = new Verbs(served, snapshots, {
      environment: { poolDir, env: process.env },
      pinned: expectedKey !== null,
      user: () => (this.#index === undefined ? undefined : userOf(this.#index)),
      show: (sizeBytes) => this.show(sizeBytes),
      record: () => this.record(),
    });
  }

  /** Serves the disk as the request says. `takeover`: the device is configured, its server died. */
  static async start(
    request: AttachRequest,
    takeover: boolean,
    log: Log,
    onDetached: () => void,
  ): Promise<{ server: AttachmentServer; state: AttachmentState }> {
    const object = await readObject(request.path);
    checkIdentity(object, request);
    const readOnly = servedReadOnly(object, request.readOnly);
    const asked = { ...request, readOnly };
    const options = servedOptionsOf(asked, takeover);
    const { poolDir, expectedKey, kmsWaitMs } = request;
    const choice = { poolDir, env: process.env, expectedKey, kmsWaitMs: takeover ? 0 : kmsWaitMs };
    let server: AttachmentServer | undefined;
    const served = await putInService(object, choice, options, log, (gate) => server?.gateChanged(gate));
    try {
      const snapshots = await Snapshots.open(served.engineDisk, request.uuid, log, takeover);
      server = new AttachmentServer(asked, served, snapshots, log, onDetached);
      return { server, state: await server.connect() };
    } catch (error) {
      if (server) await server.giveUp(takeover);
      else await served.close();
      throw error;
    }
  }

  /** The end of a start that failed: a device that is in use waits for the next server, a new one goes. */
  private async giveUp(takeover: boolean): Promise<void> {
    this.#detaching = true;
    this.#control?.close();
    if (!takeover && this.#index !== undefined) engine().nbdDisconnect(this.#index);
    await this.served.close();
  }

  /** Gives the kernel a socket: of a new device, or of the one that a dead server left. */
  private async connect(): Promise<AttachmentState> {
    const left = findDevice(this.request.uuid);
    const { sizeBytes } = this.served;
    const [ours, kernels] = engine().socketPair();
    const config = { ...this.config(sizeBytes), fd: kernels };
    try {
      const connection = this.served.engineDisk.serve({ fd: ours, readOnly: this.request.readOnly });
      connection.ended.then((end) => this.connectionEnded(end.reason));
      this.#index = this.connectKernel(config, left);
    } finally {
      engine().closeFd(ours);
      engine().closeFd(kernels);
    }
    setIoTimeout(this.#index, this.served.engineDisk.gate);
    await waitUsable(this.#index, sizeBytes, USABLE_TIMEOUT_MS);
    const state = this.describe(this.#index);
    this.#control = await serveControl(this.request.uuid, (asked) => this.handle(asked));
    await writeState(state);
    const event = left === undefined ? 'attached' : 'taken_over';
    this.log.info({ event, device: devicePath(this.#index), uuid: this.request.uuid }, event);
    return state;
  }

  /** What the kernel is told of the device, but for its socket. */
  private config(sizeBytes: bigint): KernelDevice {
    const { uuid, holes, sectorSize } = this.served.facts;
    const { readOnly, discard } = this.request;
    return {
      sizeBytes,
      blockSize: sectorSize,
      readOnly,
      trim: discard && holes && !readOnly,
      deadConnectionTimeoutS: DEAD_CONNECTION_TIMEOUT_S,
      backendIdentifier: uuid,
    };
  }

  private connectKernel(config: KernelConnect, left: number | undefined): number {
    const wanted = this.request.index ?? undefined;
    if (left === undefined) {
      if (wanted !== undefined && isConfigured(wanted)) {
        fail('ATTACH_DEVICE_BUSY', { device: devicePath(wanted), why: 'in use by another NBD client' });
      }
      return engine().nbdConnect(wanted === undefined ? config : { ...config, index: wanted });
    }
    if (wanted !== undefined && wanted !== left) {
      fail('ATTACH_ALREADY', { path: this.request.path, device: devicePath(left) });
    }
    engine().nbdReconfigure({ ...config, index: left });
    return left;
  }

  private describe(index: number): AttachmentState {
    const { keyUri, keyId, name } = this.served.facts;
    return {
      request: this.request,
      index,
      device: devicePath(index),
      address: null,
      serverPid: process.pid,
      keyUri,
      keyId,
      name,
      sizeBytes: `${this.served.sizeBytes}`,
      attachedAt: new Date().toISOString(),
    };
  }

  /** The kernel's device has another size from now on, and so has what is recorded. */
  private async show(sizeBytes: bigint): Promise<void> {
    if (this.#index === undefined || this.#detaching) return;
    engine().nbdReconfigure({ ...this.config(sizeBytes), index: this.#index });
    await waitUsable(this.#index, sizeBytes, USABLE_TIMEOUT_MS);
    await this.record(sizeBytes);
  }

  /** What is recorded is as the disk is by now. */
  private async record(sizeBytes = this.served.sizeBytes): Promise<void> {
    if (this.#index === undefined || this.#detaching) return;
    await writeState({ ...this.describe(this.#index), sizeBytes: `${sizeBytes}` });
  }

  private gateChanged(gate: GateState): void {
    if (this.#index !== undefined) setIoTimeout(this.#index, gate);
  }

  private async handle(request: ControlRequest): Promise<unknown> {
    return request.verb === 'detach' ? this.detach(request.force) : this.#verbs.carryOut(request);
  }

  /** Takes the device away. Refused while it is used, unless forced: then what is parked fails first. */
  private async detach(force: boolean): Promise<void> {
    if (this.#index === undefined || this.#detaching) return;
    const user = userOf(this.#index);
    if (user && !force) fail('ATTACH_DEVICE_BUSY', { device: devicePath(this.#index), why: user });
    if (this.snapshots.running > 0 && !force) {
      fail('ATTACH_DEVICE_BUSY', { device: devicePath(this.#index), why: 'being copied for a snapshot' });
    }
    this.#detaching = true;
    if (force) await this.served.engineDisk.fail();
    try {
      engine().nbdDisconnect(this.#index);
    } catch (error) {
      this.#detaching = false;
      throw error;
    }
    await this.end();
  }

  /** The kernel's end went away: somebody else disconnected the device (nbd-client -d). */
  private connectionEnded(reason: string): void {
    if (this.#detaching) return;
    this.#detaching = true;
    this.log.warn({ event: 'disconnected', reason }, 'the kernel ended the connection');
    this.end().catch((error) => this.log.error({ event: 'detach_failed', err: error }, 'detach failed'));
  }

  private async end(): Promise<void> {
    await this.snapshots.close();
    await this.served.close();
    removeFolder(this.request.uuid);
    this.log.info({ event: 'detached', uuid: this.request.uuid }, 'detached');
    this.#control?.close(() => this.onDetached());
  }
}

const servedOptionsOf = (request: AttachRequest, takeover: boolean): ServedDiskOptions => ({
  terms: {
    onKeyLoss: request.onKeyLoss,
    checkIntervalMs: request.checkIntervalMs,
    graceMs: request.graceMs ?? Number.POSITIVE_INFINITY,
  },
  readOnly: request.readOnly,
  direct: request.direct,
  discard: request.discard,
  kmsWaitMs: request.kmsWaitMs,
  takeover,
});

/** Between the command and the server the file may have become another disk. */
function checkIdentity({ uuid }: StoredObject, request: AttachRequest): void {
  if (uuid === request.uuid) return;
  fail('LUKS2_FIELD', { field: 'uuid', found: uuid, expected: request.uuid });
}
