/** A plain disk in service: the engine without cipher and key. Nothing can take it away but its end. */

import { type EngineDisk, engine } from '../engine/engine.js';
import type { Log } from '../log.js';
import type { InService, ServedFacts } from './in-service.js';
import { nameOf, type StoredObject } from './object.js';
import { PLAIN_SECTOR_BYTES } from './plain.js';
import type { ServedDiskOptions, ServedDiskStatus } from './served-disk.js';

export class ServedPlain implements InService {
  readonly engineDisk: EngineDisk;
  readonly facts: ServedFacts;
  #sizeBytes: bigint;

  constructor(
    object: StoredObject,
    private readonly options: ServedDiskOptions,
    private readonly log: Log,
  ) {
    const { path, uuid, sizeBytes } = object;
    const sectorSize = Number(PLAIN_SECTOR_BYTES) as 512;
    this.facts = { uuid, path, name: nameOf(object), sectorSize, holes: true, keyUri: '', keyId: '' };
    this.#sizeBytes = sizeBytes;
    this.engineDisk = engine().openDisk({
      path,
      offsetBytes: 0n,
      sizeBytes,
      sectorSize,
      readOnly: options.readOnly,
      direct: options.direct,
      holes: true,
      discard: options.discard && !options.readOnly,
      plain: true,
      ...(options.changes && { changed: options.changes.bounds }),
    });
    this.engineDisk.goLive();
    log.warn({ event: 'plain', uuid }, `${path} is served without encryption`);
  }

  get status(): ServedDiskStatus {
    return { gate: this.engineDisk.gate, lease: 'none', reason: '' };
  }

  get sizeBytes(): bigint {
    return this.#sizeBytes;
  }

  get readOnly(): boolean {
    return this.options.readOnly;
  }

  resize(sizeBytes: bigint): void {
    this.engineDisk.resize(sizeBytes);
    this.#sizeBytes = sizeBytes;
    this.log.info({ event: 'resized', uuid: this.facts.uuid, sizeBytes: `${sizeBytes}` }, 'resized');
  }

  close(): Promise<void> {
    return this.engineDisk.close();
  }
}
