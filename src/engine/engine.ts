/**
 * The typed face of the native engine (native/addon.cc). The only importer of the addon.
 *
 * Handles are opaque; closing one twice is fine. No plaintext payload crosses this boundary, and a data key crosses it
 * once, inwards, out of a buffer that is overwritten before the call returns.
 */

import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { fail } from '../errors.js';

export type GateState = 'live' | 'hung' | 'failed';

/** 64 bytes of key in locked memory (not dumped, wiped at `wipe` and at exit). */
export interface DataKey {
  /** PBKDF2-HMAC-SHA-256 of the key: the digest of a LUKS2 header. */
  pbkdf2Sha256(salt: Uint8Array, iterations: number, lengthBytes: number): Promise<Buffer>;
  /** HMAC-SHA-256(HKDF-SHA-256(key, info = `label`), message), 32 bytes. */
  hmac(label: string, message: Uint8Array): Buffer;
  /** Writes the 64 bytes to the descriptor `fd`, for recovery with cryptsetup. */
  writeTo(fd: number): void;
  wipe(): void;
}

export interface DiskOptions {
  readonly path: string;
  /** Byte offset of the segment in the file, a multiple of `sectorSize`. */
  readonly offsetBytes: bigint;
  /** Bytes served, a multiple of `sectorSize`. */
  readonly sizeBytes: bigint;
  readonly sectorSize: 512 | 4096;
  readonly readOnly: boolean;
  /** O_DIRECT on the backing file. */
  readonly direct?: boolean;
}

export interface DiskStats {
  readonly reads: bigint;
  readonly readBytes: bigint;
  readonly writes: bigint;
  readonly writtenBytes: bigint;
  readonly flushes: bigint;
  /** Requests that wait behind the gate now. */
  readonly parked: number;
  /** Requests that passed the gate and are not answered yet. */
  readonly inFlight: number;
  readonly connections: number;
}

export interface ServeOptions {
  /** A connected stream socket; the engine duplicates it, the caller closes its own. */
  readonly fd: number;
  /** Transmission bytes that were already read from the socket. */
  readonly rest?: Uint8Array;
  readonly readOnly: boolean;
}

/** How a connection ended: DISC from the peer, end of file, a peer that broke the protocol, or `close()` here. */
export interface ConnectionEnd {
  readonly reason: 'disconnect' | 'eof' | 'protocol' | 'closed' | 'error';
  readonly detail: string;
}

export interface Connection {
  readonly ended: Promise<ConnectionEnd>;
  close(): void;
}

/** One served disk: key schedule in locked memory, backing file, gate. It starts hung; `goLive` gives it the key. */
export interface EngineDisk {
  readonly gate: GateState;
  /** Expands the key schedule, opens the gate: parked requests go on. The caller still owns `key`. */
  goLive(key: DataKey): void;
  /** Requests in flight finish, the rest is parked; resolves when the key schedule is wiped. */
  hang(): Promise<void>;
  /** As `hang`, but parked and new requests are answered with EIO. */
  fail(): Promise<void>;
  serve(options: ServeOptions): Connection;
  stats(): DiskStats;
  /** Ends all connections (requests in flight finish), syncs the file, wipes the key. */
  close(): Promise<void>;
}

export interface KernelConnect {
  /** The kernel's end of a socket pair. */
  readonly fd: number;
  /** Device number N of /dev/nbdN; the kernel chooses when left out. */
  readonly index?: number;
  readonly sizeBytes: bigint;
  readonly blockSize: number;
  readonly readOnly: boolean;
  readonly trim: boolean;
  /** Seconds that the kernel waits for a new server when the old one is gone. */
  readonly deadConnectionTimeoutS: number;
  readonly backendIdentifier: string;
}

interface Addon {
  selfTest(): { cipher: string } | { failure: string };
  takeDataKey(secret: Buffer): DataKey;
  openDisk(options: DiskOptions): EngineDisk;
  socketPair(): [number, number];
  closeFd(fd: number): void;
  setIoFlusher(): void;
  protectProcess(options: { lockAll: boolean; oomScoreAdj: number }): void;
  nbdConnect(options: KernelConnect): number;
  nbdReconfigure(options: KernelConnect & { index: number }): void;
  nbdDisconnect(index: number): void;
  nbdStatus(): { index: number; connected: boolean }[];
}

function load(): Addon {
  const require = createRequire(import.meta.url);
  const root = fileURLToPath(new URL('../..', import.meta.url));
  try {
    return require('node-gyp-build')(root) as Addon;
  } catch (error) {
    fail('ENGINE_ADDON', { why: (error as Error).message.split('\n')[0] ?? '' }, error);
  }
}

let loaded: Addon | undefined;

/** The engine, loaded at first use. Its known-answer tests run before anything else of it can be called. */
export function engine(): Addon {
  if (loaded) return loaded;
  const addon = load();
  const verdict = addon.selfTest();
  if ('failure' in verdict) fail('ENGINE_SELF_TEST', { what: verdict.failure });
  loaded = addon;
  return loaded;
}
