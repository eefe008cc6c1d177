/**
 * The typed face of the native engine (native/addon.cc). The only importer of the addon.
 *
 * Handles are opaque; closing one twice is fine. No plaintext payload crosses this boundary, and a data key crosses it
 * once, inwards, out of a buffer that is overwritten before the call returns.
 */

import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { errnoOf, fail } from '../errors.js';
import { type CopyTarget, cataloguedCopy, type EngineCopy } from './copy.js';
import {
  cataloguedContext,
  nativeSession,
  type TlsContext,
  type TlsOptions,
  type TlsSession,
} from './tls.js';
import type { NativeTransform, TransformOptions } from './transform.js';

export type { CopyTarget, EngineCopy } from './copy.js';
export type { TlsContext, TlsOptions, TlsProgress, TlsSession } from './tls.js';

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

/** A text with keys in it, to be digested. */
export interface KeyedText {
  readonly before: Uint8Array;
  readonly keys: readonly DataKey[];
  readonly after: Uint8Array;
  readonly salt: Uint8Array;
  /** At most 100 000: it blocks. */
  readonly iterations: number;
  readonly lengthBytes: number;
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
  /** A sector whose ciphertext is all zeros is a hole, and reads as zeros: see docs/format.md. */
  readonly holes?: boolean;
  /** TRIM and WRITE_ZEROES make holes; only where `holes` allows them. */
  readonly discard?: boolean;
  /** No cipher and no key: what is served is what lies in the file. */
  readonly plain?: boolean;
  /** Begins and ends of ranges of the payload, by turns and in order: what the context `changed` tells of. */
  readonly changed?: BigUint64Array;
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
  /** Transmission bytes that were already read from the socket; of TLS, in plaintext. */
  readonly rest?: Uint8Array;
  readonly readOnly: boolean;
  /** Simple when left out. Extended goes with extended request headers. */
  readonly replies?: 'simple' | 'structured' | 'extended';
  /** Ids that NBD_OPT_SET_META_CONTEXT gave to base:allocation, sealdisk:key-state and the disk's `changed`. */
  readonly contexts?: { readonly allocation?: number; readonly keyState?: number; readonly changed?: number };
  /** A TlsSession of this engine, its handshake done: it is taken over, and refuses every call from then on. */
  readonly tls?: Pick<TlsSession, 'clientName' | 'close'>;
}

/** How a connection ended: DISC from the peer, end of file, a peer that broke the protocol, or `close()` here. */
export interface ConnectionEnd {
  readonly reason: 'disconnect' | 'eof' | 'protocol' | 'closed' | 'error';
  readonly detail: string;
}

export interface Connection {
  readonly ended: Promise<ConnectionEnd>;
  /** `requests` grows with whatever the peer does; `waiting` requests wait for the engine, also behind the gate. */
  activity(): { readonly requests: bigint; readonly waiting: number };
  /** Takes no more requests; ends when those that have begun to arrive are answered. Parked ones are dropped. */
  drain(): void;
  /** Ends it soon: requests in flight finish, but the peer is not waited for. */
  close(): void;
}

/** One served disk: key schedule in locked memory, backing file, gate. It starts hung; `goLive` gives it the key. */
export interface EngineDisk {
  readonly gate: GateState;
  /**
   * Expands the key schedule, opens the gate: parked requests go on. The caller still owns `key`, which a plain disk has
   * none of.
   */
  goLive(key?: DataKey): void;
  /** Requests in flight finish, the rest is parked; resolves when the key schedule is wiped. */
  hang(): Promise<void>;
  /** As `hang`, but parked and new requests are answered with EIO. */
  fail(): Promise<void>;
  /** Parks new requests until `release`, the key stays; resolves when those in flight have ended. Each has its `release`. */
  hold(): Promise<void>;
  release(): void;
  /**
   * Makes the file `path`, which must be empty or not be there, share this disk's blocks as they are at one instant; it is on stable
   * storage, its folder is the caller's to sync. How long requests were held, in ms. Fails with DISK_IO and the errno
   * (EOPNOTSUPP, EXDEV, EINVAL: the file system cannot); then there is no file.
   */
  cloneTo(target: { readonly path: string }): Promise<number>;
  /**
   * As `cloneTo`, by copying: chunks are copied before they are overwritten, the rest behind. `begun` and `done` fail with DISK_IO
   * and the errno (EEXIST: the file is not empty; ESTALE: nothing to go on with). Both files are the caller's to remove.
   */
  copyTo(target: CopyTarget): EngineCopy;
  /** Serves another size from now on, to connections that are there, too; the file must reach so far (DISK_TOO_SMALL). */
  resize(sizeBytes: bigint): void;
  serve(options: ServeOptions): Connection;
  stats(): DiskStats;
  /** Ends all connections (requests in flight finish), syncs the file, wipes the key. */
  close(): Promise<void>;
}

export interface KernelDevice {
  readonly sizeBytes: bigint;
  readonly blockSize: number;
  readonly readOnly: boolean;
  readonly trim: boolean;
  /** Seconds that the kernel waits for a new server when the old one is gone. */
  readonly deadConnectionTimeoutS: number;
  readonly backendIdentifier: string;
}

export interface KernelConnect extends KernelDevice {
  /** The kernel's end of a socket pair. */
  readonly fd: number;
  /** Device number N of /dev/nbdN; the kernel chooses when left out. */
  readonly index?: number;
}

/** Where a socket listens: a path ('@name' in the abstract namespace), or an address and port. */
export type SocketAddress = { readonly path: string } | { readonly host: string; readonly port: number };

/** The process that connected a unix socket, as the kernel saw it then. */
export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** An account of the system's user database; the groups are those that the database gives it, by their names. */
export interface Account {
  readonly uid: number;
  readonly name: string;
  readonly groups: readonly string[];
}

interface Addon {
  selfTest(): { cipher: string } | { failure: string };
  takeDataKey(secret: Buffer): DataKey;
  /** PBKDF2-HMAC-SHA-256 of `before`, the keys, `after`, as one text. */
  pbkdf2Sha256Of(text: KeyedText): Buffer;
  openDisk(options: DiskOptions): EngineDisk;
  /** Its typed face, with the errors: transform.ts. */
  transform(options: TransformOptions): NativeTransform;
  /** Takes the private key and the pre-shared keys out of their buffers, which are overwritten. */
  tlsContext(options: TlsOptions): TlsContext;
  socketPair(): [number, number];
  closeFd(fd: number): void;
  /** An extended attribute of the file; null where it has none, or its file system keeps none. */
  getAttribute(path: string, name: string): Buffer | null;
  /** Writes it, or takes it away (null). */
  setAttribute(path: string, name: string, value: Buffer | null): void;
  /** Begin and end of the first run of data of a file that does not end before `fromBytes`; null: there is none. */
  dataRun(fd: number, fromBytes: bigint): [bigint, bigint] | null;
  setIoFlusher(): void;
  /** Makes the process undumpable; returns what else was asked for and refused, as in "lock memory: EPERM". */
  protectProcess(options: { lockMemory: boolean; oomScoreAdj: number }): string[];
  /** Who connected the unix socket `fd` (SO_PEERCRED). */
  peerCredentials(fd: number): PeerCredentials;
  /** The account with this number or this name; null for none. It may wait for the database. */
  account(which: number | string): Account | null;
  /** Where the listening stream socket `fd` listens; fails with NBD_ADDRESS for anything else. It is closed at exec. */
  listeningSocket(fd: number): SocketAddress;
  /** Sends `message` as one datagram to the socket at `path`, or '@name' (sd_notify(3)). */
  notifyManager(options: { path: string; message: string }): void;
  nbdConnect(options: KernelConnect): number;
  /** With a socket: in the place of one that is dead. Without: only the size. */
  nbdReconfigure(options: KernelDevice & { index: number; fd?: number }): void;
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

/** What the addon throws: `code` is an errno's name, TOO_SMALL (with found, expected) or INVALID (a fault of ours). */
interface NativeError extends Error {
  readonly code: string;
  readonly found?: bigint;
  readonly expected?: bigint;
  readonly familyMissing?: boolean;
}

/** Runs `work`; what the addon throws goes through `translate`, which fails by the catalogue. */
function translating<T>(work: () => T, translate: (error: NativeError) => never): T {
  try {
    return work();
  } catch (error) {
    if ((error as NativeError).code === 'INVALID') throw error;
    return translate(error as NativeError);
  }
}

const asSystem = (what: string) => (error: NativeError) =>
  fail('ENGINE_SYSTEM', { what, errno: errnoOf(error) }, error);

const asNetlink = (what: string) => (error: NativeError) =>
  error.familyMissing
    ? fail('KERNEL_NO_NBD', { why: error.message }, error)
    : fail('KERNEL_NETLINK', { what, errno: errnoOf(error) }, error);

function asOpen(path: string, error: NativeError): never {
  switch (error.code) {
    case 'EAGAIN':
    case 'EWOULDBLOCK':
      return fail('DISK_IN_USE', { path }, error);
    case 'ENOENT':
      return fail('DISK_NOT_FOUND', { path }, error);
    case 'TOO_SMALL':
      return fail(
        'DISK_TOO_SMALL',
        { path, found: error.found ?? 0n, expected: error.expected ?? 0n },
        error,
      );
    default:
      return fail('DISK_IO', { path, errno: errnoOf(error) }, error);
  }
}

/** The same disk, whose failures are catalogued. */
function cataloguedDisk(native: EngineDisk, path: string): EngineDisk {
  return {
    get gate() {
      return native.gate;
    },
    goLive: (key) => translating(() => native.goLive(key), asSystem('key schedule')),
    hang: () => native.hang(),
    fail: () => native.fail(),
    hold: () => native.hold(),
    release: () => native.release(),
    cloneTo: (target) =>
      native
        .cloneTo(target)
        .catch((error) => fail('DISK_IO', { path: target.path, errno: errnoOf(error) }, error)),
    copyTo: (target) =>
      cataloguedCopy(
        translating(() => native.copyTo(target), asSystem('copy of a disk')),
        target.path,
      ),
    resize: (sizeBytes) =>
      translating(
        () => native.resize(sizeBytes),
        (error) => asOpen(path, error),
      ),
    serve: ({ tls, ...options }) => {
      const served = tls ? { ...options, tls: nativeSession(tls) } : options;
      return translating(() => native.serve(served), asSystem('connection'));
    },
    stats: () => native.stats(),
    close: () => native.close().catch((error) => fail('DISK_IO', { path, errno: errnoOf(error) }, error)),
  };
}

/** The same verbs, whose failures are catalogued. */
function catalogued(native: Addon): Addon {
  return {
    selfTest: () => native.selfTest(),
    takeDataKey: (secret) =>
      translating(() => native.takeDataKey(secret), asSystem('locked memory for a key')),
    pbkdf2Sha256Of: (text) =>
      translating(() => native.pbkdf2Sha256Of(text), asSystem('locked memory for a key')),
    openDisk: (options) =>
      cataloguedDisk(
        translating(
          () => native.openDisk(options),
          (error) => asOpen(options.path, error),
        ),
        options.path,
      ),
    transform: (options) => translating(() => native.transform(options), asSystem('memory for bulk work')),
    tlsContext: (options) => cataloguedContext(() => native.tlsContext(options)),
    socketPair: () => translating(() => native.socketPair(), asSystem('socket pair')),
    closeFd: (fd) => translating(() => native.closeFd(fd), asSystem('close')),
    getAttribute: (path, name) =>
      translating(
        () => native.getAttribute(path, name),
        (error) => asOpen(path, error),
      ),
    setAttribute: (path, name, value) =>
      translating(
        () => native.setAttribute(path, name, value),
        (error) => asOpen(path, error),
      ),
    dataRun: (fd, fromBytes) => translating(() => native.dataRun(fd, fromBytes), asSystem('SEEK_DATA')),
    setIoFlusher: () => translating(() => native.setIoFlusher(), asSystem('PR_SET_IO_FLUSHER')),
    protectProcess: (options) =>
      translating(() => native.protectProcess(options), asSystem('PR_SET_DUMPABLE')),
    listeningSocket: (fd) =>
      translating(
        () => native.listeningSocket(fd),
        (error) => fail('NBD_ADDRESS', { address: `descriptor ${fd}`, errno: errnoOf(error) }, error),
      ),
    peerCredentials: (fd) => translating(() => native.peerCredentials(fd), asSystem('SO_PEERCRED')),
    account: (which) => translating(() => native.account(which), asSystem('user database')),
    notifyManager: (options) => translating(() => native.notifyManager(options), asSystem('sd_notify')),
    nbdConnect: (options) => translating(() => native.nbdConnect(options), asNetlink('connect')),
    nbdReconfigure: (options) => translating(() => native.nbdReconfigure(options), asNetlink('reconfigure')),
    nbdDisconnect: (index) => translating(() => native.nbdDisconnect(index), asNetlink('disconnect')),
    nbdStatus: () => translating(() => native.nbdStatus(), asNetlink('status')),
  };
}

let loaded: Addon | undefined;

/** The engine, loaded at first use. Its known-answer tests run before anything else of it can be called. */
export function engine(): Addon {
  if (loaded) return loaded;
  const addon = load();
  const verdict = addon.selfTest();
  if ('failure' in verdict) fail('ENGINE_SELF_TEST', { what: verdict.failure });
  loaded = catalogued(addon);
  return loaded;
}
