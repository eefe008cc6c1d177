/**
 * One disk of a server: its lock, its key with lease and gate, its control socket, its record under /run/sealdisk.
 *
 * Nothing is shared with the other exports of the process but the listeners and the questions to the KMS. It is recorded
 * as an attachment without a device, so that `list` shows it.
 */

import { realpathSync } from 'node:fs';
import type { InService } from '../../disk/in-service.js';
import type { KeyChecks } from '../../disk/key-checks.js';
import type { StoredObject } from '../../disk/object.js';
import { putInService, servedReadOnly } from '../../disk/put-in-service.js';
import type { ServedDiskOptions } from '../../disk/served-disk.js';
import type { GateState } from '../../engine/engine.js';
import { about, fail } from '../../errors.js';
import type { Log } from '../../log.js';
import type { Export, Transmission, TransmitArgs } from '../../nbd/server.js';
import { serveControl } from '../control.js';
import { Snapshots } from '../snapshots.js';
import { type AttachmentState, type AttachRequest, removeFolder, takeLock, writeState } from '../state.js';
import { Verbs } from '../verbs.js';
import type { NamedDisk } from './disks.js';
import { draining } from './draining.js';
import { type End, endAll } from './ends.js';
import { contextIds, exportOf } from './export-of.js';

export interface ExportOptions extends ServedDiskOptions {
  readonly poolDir: string;
  /** Key URI that the disks must be wrapped by; null: whatever each names. */
  readonly expectedKey: string | null;
  /** How long a client may take at the end to send the rest of its request and to read its replies. */
  readonly drainMs: number;
  readonly logLevel: string;
}

export class ServedExport {
  readonly name: string;
  readonly object: StoredObject;
  readonly options: ExportOptions;
  readonly #ends: End[] = [];
  #locked = false;
  #served: InService | undefined;
  #uri = '';

  constructor(
    { name, disk }: NamedDisk,
    options: ExportOptions,
    private readonly log: Log,
    private readonly checks: KeyChecks,
  ) {
    this.name = name;
    this.object = disk;
    this.options = { ...options, readOnly: servedReadOnly(disk, options.readOnly) };
  }

  /** Puts the disk into service. Fails with DISK_*, LUKS2_* or KMS_*; then nothing of it is left behind. */
  async open(onGateChange: (gate: GateState) => void): Promise<void> {
    try {
      await this.#start(onGateChange);
    } catch (error) {
      await this.close().catch((late) => this.log.error({ event: 'close_failed', err: late }, 'close'));
      throw about(this.object.path, error);
    }
  }

  async #start(onGateChange: (gate: GateState) => void): Promise<void> {
    const { options, log } = this;
    const { object } = this;
    const { uuid, path } = object;
    const lock = takeLock(uuid);
    if (!lock) fail('DISK_IN_USE', { path });
    this.#locked = true;
    this.#ends.push(lock.release, () => this.forget());
    const choice = { ...options, env: process.env };
    const served = await putInService(object, choice, options, log, onGateChange, this.checks);
    this.#served = served;
    this.#ends.push(() => served.close());
    // Whoever served it before is gone, and who wrote to the disk since then is not known.
    const snapshots = await Snapshots.open(served.engineDisk, uuid, log, false);
    this.#ends.push(() => snapshots.close());
    const verbs = new Verbs(served, snapshots, {
      environment: { poolDir: options.poolDir, env: process.env },
      pinned: options.expectedKey !== null,
      user: () => clientsOf(served),
      show: (sizeBytes) => this.record(this.#uri, sizeBytes),
      record: () => this.record(this.#uri),
    });
    const control = await serveControl(uuid, (request) => verbs.carryOut(request));
    this.#ends.push(() => control.close());
  }

  /** Ends what serves it: syncs the file, wipes the key, takes its record away. Twice is fine. */
  close(): Promise<void> {
    return endAll(this.#ends);
  }

  /** Takes its record away, where it is ours. */
  forget(): void {
    if (this.#locked) removeFolder(this.object.uuid);
    this.#locked = false;
  }

  get #sizeBytes(): bigint {
    return this.#served?.sizeBytes ?? this.object.sizeBytes;
  }

  get gate(): GateState {
    return this.#served?.engineDisk.gate ?? 'failed';
  }

  /** What clients are told of it; those of other names than `clientNames` are not. */
  describe(clientNames: readonly string[] | undefined): Export {
    return {
      ...exportOf({
        name: this.name,
        description: this.object.label.name,
        sizeBytes: this.#sizeBytes,
        sectorSize: this.#served?.facts.sectorSize ?? 0,
        readOnly: this.options.readOnly,
        ...(this.options.changes && { changedSince: this.options.changes.since }),
      }),
      ...(clientNames && { clientNames }),
    };
  }

  /** Gives a client's socket to the engine. */
  transmit({ fd, rest, peer, negotiated, tls }: TransmitArgs): Transmission {
    const client = tls?.clientName;
    const facts = { peer, ...(client && { client }), export: this.name, uuid: this.object.uuid };
    const served = this.#served ?? fail('INTERNAL', { what: 'a client of an export that is not served' });
    this.log.info({ event: 'connected', ...facts }, 'a client began');
    const connection = served.engineDisk.serve({
      fd,
      rest,
      readOnly: this.options.readOnly,
      replies: negotiated.replies,
      contexts: contextIds(negotiated),
      ...(tls && { tls }),
    });
    connection.ended.then((end) =>
      this.log.info({ event: 'disconnected', ...facts, ...end }, 'a client ended'),
    );
    return draining(connection, this.options.drainMs, () =>
      this.log.warn({ event: 'drain_cut', ...facts }, 'a client did not finish in time'),
    );
  }

  /** Records it for `list` and `info`, reachable at `uri`. */
  record(uri: string, sizeBytes = this.#sizeBytes): Promise<void> {
    const { name } = this.object.label;
    const { keyUri, keyId } = this.#served?.facts ?? { keyUri: '', keyId: '' };
    this.#uri = uri;
    const state: AttachmentState = {
      request: this.#request(),
      index: null,
      device: null,
      address: uri,
      serverPid: process.pid,
      keyUri,
      keyId,
      name,
      sizeBytes: `${sizeBytes}`,
      attachedAt: new Date().toISOString(),
    };
    return writeState(state);
  }

  #request(): AttachRequest {
    const { object, options } = this;
    const { onKeyLoss, checkIntervalMs, graceMs } = options.terms;
    return {
      path: realpathSync(object.path),
      uuid: object.uuid,
      poolDir: options.poolDir,
      index: null,
      readOnly: options.readOnly,
      direct: options.direct,
      discard: options.discard,
      expectedKey: options.expectedKey,
      onKeyLoss,
      checkIntervalMs,
      graceMs: Number.isFinite(graceMs) ? graceMs : null,
      kmsWaitMs: options.kmsWaitMs,
      standby: false,
      logLevel: options.logLevel,
    };
  }
}

/** Who would miss the end of the disk. */
function clientsOf(served: InService): string | undefined {
  const { connections } = served.engineDisk.stats();
  return connections === 0
    ? undefined
    : `open in ${connections} NBD ${connections === 1 ? 'client' : 'clients'}`;
}
