/** An object in service, encrypted or plain: what whoever shows it to clients or to the kernel needs of it. */

import type { EngineDisk } from '../engine/engine.js';
import type { ServedDiskStatus } from './served-disk.js';

export interface ServedFacts {
  readonly uuid: string;
  readonly path: string;
  readonly name: string;
  readonly sectorSize: number;
  /** TRIM may make holes, when it is asked for. */
  readonly holes: boolean;
  /** Empty of a plain object. */
  readonly keyUri: string;
  readonly keyId: string;
}

export interface InService {
  readonly engineDisk: EngineDisk;
  readonly status: ServedDiskStatus;
  readonly facts: ServedFacts;
  /** Payload bytes that are served now. */
  readonly sizeBytes: bigint;
  readonly readOnly: boolean;
  /** Serves another size from now on; the file must reach so far (DISK_TOO_SMALL). */
  resize(sizeBytes: bigint): void;
  /** Ends all connections, syncs, wipes the key. Twice is fine. */
  close(): Promise<void>;
}
