/**
 * A disk in service: the engine's disk, and the key lease that opens and shuts its gate.
 *
 * Kept true: the gate is live only while the lease is held or kept; the key is proved against the header each time it is
 * unwrapped; the KMS is asked every `checkIntervalMs`, and while it is silent at growing intervals (key-checks.ts).
 */

import { type EngineDisk, engine, type GateState } from '../engine/engine.js';
import { failureOf, isFailure, type SealdiskError, unreachable } from '../errors.js';
import { failureOfDescription, type KeyProvider } from '../kms/provider.js';
import type { Log } from '../log.js';
import { unwrapDataKey } from './envelope.js';
import type { InService, ServedFacts } from './in-service.js';
import { type KeyCheck, KeyChecks } from './key-checks.js';
import { answerOfGroup, decide, type KmsAnswer, type Lease, type LeaseTerms } from './key-lease.js';
import { KMS_TIMEOUT_MS, patiently } from './patience.js';
import type { DiskDescription } from './read.js';

/** Between two moments that are not the same. */
const TICK_MS = 0.001;

export interface ServedDiskOptions {
  readonly terms: LeaseTerms;
  readonly readOnly: boolean;
  readonly direct: boolean;
  /** TRIM and WRITE_ZEROES punch holes, on a disk that may have them. */
  readonly discard: boolean;
  /** How long to wait at the start for a KMS that does not answer. */
  readonly kmsWaitMs: number;
  /** Start without the key when it cannot be had: the disk is being taken over, its I/O may wait. */
  readonly takeover: boolean;
  /** What clients may ask for: the ranges that differ from an older snapshot. Only of what nobody writes to. */
  readonly changes?: Changes;
}

export interface Changes {
  /** What people call the older one. */
  readonly since: string;
  /** Begins and ends of ranges of the payload, by turns. */
  readonly bounds: BigUint64Array;
}

export interface ServedDiskStatus {
  readonly gate: GateState;
  /** `none`: a plain disk has no key. */
  readonly lease: Lease['kind'] | 'none';
  /** Why the key was lost or the KMS is not heard, or empty. */
  readonly reason: string;
}

export class ServedDisk implements InService {
  readonly engineDisk: EngineDisk;
  #disk: DiskDescription;
  #provider: KeyProvider;
  #sizeBytes: bigint;
  #lease: Lease = { kind: 'lost' };
  #reason = '';
  #timer: NodeJS.Timeout | undefined;
  #asking: Promise<void> | undefined;
  /** Asked for while a question was under way: an answer no older than this. */
  #askAgainSinceMs: number | undefined;
  /** When the answer was asked for that was taken last. */
  #heardMs = Number.NEGATIVE_INFINITY;
  /** How long the lease waits between its last question and the next. */
  #pauseMs = 0;
  #closed = false;
  #check: KeyCheck | undefined;

  private constructor(
    disk: DiskDescription,
    provider: KeyProvider,
    private readonly options: ServedDiskOptions,
    private readonly log: Log,
    private readonly onGateChange: (gate: GateState) => void,
    private readonly checks: KeyChecks,
  ) {
    this.#disk = disk;
    this.#provider = provider;
    this.#sizeBytes = disk.sizeBytes;
    this.engineDisk = engine().openDisk({
      path: disk.path,
      offsetBytes: disk.offsetBytes,
      sizeBytes: disk.sizeBytes,
      sectorSize: disk.sectorSize,
      readOnly: options.readOnly,
      direct: options.direct,
      holes: disk.holes,
      discard: options.discard && disk.holes && !options.readOnly,
      ...(options.changes && { changed: options.changes.bounds }),
    });
  }

  /**
   * Opens the disk and unwraps its key. A revoked or wrong key is refused, an unreachable KMS waited for `kmsWaitMs`;
   * with `takeover` either one makes a disk that starts without its key, as its policy says. Disks of one process that are
   * given the same `checks` ask their KMS together.
   */
  static async open(
    disk: DiskDescription,
    provider: KeyProvider,
    options: ServedDiskOptions,
    log: Log,
    onGateChange: (gate: GateState) => void = () => {},
    checks: KeyChecks = new KeyChecks(),
  ): Promise<ServedDisk> {
    const served = new ServedDisk(disk, provider, options, log, onGateChange, checks);
    try {
      await served.#start();
      return served;
    } catch (error) {
      await served.close();
      throw error;
    }
  }

  get status(): ServedDiskStatus {
    return { gate: this.engineDisk.gate, lease: this.#lease.kind, reason: this.#reason };
  }

  /** What its header says; `headerWritten` is the one change of that. */
  get disk(): DiskDescription {
    return this.#disk;
  }

  get facts(): ServedFacts {
    const { header, path, token, sectorSize, holes } = this.disk;
    const { name, keyUri, keyId } = token;
    return { uuid: header.uuid, path, name, sectorSize, holes, keyUri, keyId };
  }

  get provider(): KeyProvider {
    return this.#provider;
  }

  /** Payload bytes that are served now. */
  get sizeBytes(): bigint {
    return this.#sizeBytes;
  }

  get readOnly(): boolean {
    return this.options.readOnly;
  }

  /** Serves another size from now on; the file must reach so far (DISK_TOO_SMALL). */
  resize(sizeBytes: bigint): void {
    this.engineDisk.resize(sizeBytes);
    this.#sizeBytes = sizeBytes;
    this.log.info({ event: 'resized', uuid: this.disk.header.uuid, sizeBytes: `${sizeBytes}` }, 'resized');
  }

  /**
   * Goes on with the header that was written now, whose wrapping of the same data key `provider` unwraps: checks and
   * restores are of that from now on. A provider that is another than before is this disk's to close.
   */
  async headerWritten(disk: DiskDescription, provider: KeyProvider): Promise<void> {
    const before = this.#provider;
    const was = this.#disk.token;
    this.#disk = disk;
    this.#provider = provider;
    const { keyUri, keyId, keyVersion } = disk.token;
    if (was.keyUri !== keyUri || !was.wrappedKey.equals(disk.token.wrappedKey)) {
      this.log.info({ event: 'rewrapped', uuid: disk.header.uuid, keyUri, keyId, keyVersion }, 'rewrapped');
    }
    this.#joinChecks();
    this.#ask(performance.now());
    if (before !== provider) {
      await this.#asking;
      await before.close();
    }
    if (this.#closed) await provider.close();
  }

  /** Ends all connections, syncs, wipes the key, stops asking. Twice is fine. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#asking;
    this.#check?.leave();
    await this.engineDisk.close();
    await this.provider.close();
  }

  async #start(): Promise<void> {
    // A disk that is taken over starts without its key when it must.
    const waitMs = this.options.takeover ? 0 : this.options.kmsWaitMs;
    await patiently(waitMs, this.log, () => this.#first());
    this.#joinChecks();
  }

  /** Takes part in the questions about the key that wraps now, and in none about another. */
  #joinChecks(): void {
    this.#check?.leave();
    const check = this.checks.join(this.provider, this.disk.token.keyId, (sinceMs) => this.#ask(sinceMs));
    if (this.#closed) check.leave();
    else this.#check = check;
  }

  async #first(): Promise<void> {
    const startedMs = performance.now();
    const failure = await this.#restore();
    if (!failure) {
      this.#take('restored', startedMs);
      return;
    }
    if (!this.options.takeover) throw failure;
    this.#reason = failure.message;
    if (this.options.terms.onKeyLoss === 'fail') await this.engineDisk.fail();
    this.#take(answerOfGroup(failure.group), startedMs);
  }

  /** The timer's question: an answer that another disk just got will do, but each is taken once. */
  #askSoon(): void {
    const youngMs = performance.now() - this.#pauseMs / 2;
    this.#ask(Math.max(youngMs, this.#heardMs + TICK_MS));
  }

  /**
   * Asks the KMS once and acts on the answer, which is no older than `sinceMs`; a call while one is under way makes it ask
   * once more after.
   */
  #ask(sinceMs: number): void {
    if (this.#closed) return;
    if (this.#asking) {
      this.#askAgainSinceMs = sinceMs;
      return;
    }
    clearTimeout(this.#timer);
    const asking = this.#askOnce(sinceMs).catch((error) => {
      // A mistake of ours must not end a process that holds a disk; the lease has set the next question already.
      this.log.error({ event: 'lease_failed', err: error }, 'the key lease could not act');
    });
    this.#asking = asking.finally(() => {
      this.#asking = undefined;
      const againSinceMs = this.#askAgainSinceMs;
      this.#askAgainSinceMs = undefined;
      if (againSinceMs !== undefined) this.#ask(againSinceMs);
    });
  }

  async #askOnce(sinceMs: number): Promise<void> {
    const check = this.#check;
    const answer = await check?.ask(sinceMs);
    // Of a key that wraps no longer: the new one is asked about next.
    if (!answer || check !== this.#check) return;
    const { askedMs, said } = answer;
    this.#heardMs = askedMs;
    const { keyVersion, keyUri } = this.disk.token;
    const failure = isFailure(said) ? said : failureOfDescription(said, keyVersion, keyUri);
    if (failure) return this.#lose(failure, askedMs);
    this.#reason = '';
    if (this.#take('enabled', askedMs) !== 'restore') return;
    const refused = await this.#restore();
    if (refused) return this.#lose(refused, askedMs);
    this.#take('restored', askedMs);
  }

  /** Unwraps the key and opens the gate. The failure, when it cannot be. */
  async #restore(): Promise<SealdiskError | undefined> {
    return failureOf(async () => {
      const { header } = this.disk;
      const { provider } = this;
      const key = await this.checks.inTurn(provider.keyUri, async () =>
        this.#closed ? undefined : unwrapDataKey(header, provider, { timeoutMs: KMS_TIMEOUT_MS }),
      );
      if (!key) return;
      try {
        if (this.#closed) return;
        this.engineDisk.goLive(key);
      } finally {
        key.wipe();
      }
      this.#gateChanged('key_restored', 'the key is in memory, the disk serves');
    });
  }

  async #lose(failure: SealdiskError, askedMs: number): Promise<void> {
    this.#reason = failure.message;
    const act = this.#take(answerOfGroup(failure.group), askedMs);
    switch (act) {
      case 'lose':
        if (this.options.terms.onKeyLoss === 'fail') await this.engineDisk.fail();
        else await this.engineDisk.hang();
        return this.#gateChanged('key_lost', failure.message, failure.code);
      case 'warn':
        return this.log.error(
          { event: 'key_kept', code: failure.code },
          `${failure.message}; the policy keeps serving until detach`,
        );
      case 'none':
        if (failure.group === 'unreachable' && this.#lease.silence?.tries === 1) {
          this.log.warn({ event: 'kms_unreachable', code: failure.code }, failure.message);
        }
        return;
      case 'restore':
        return;
      default:
        unreachable(act);
    }
  }

  /** Feeds the lease and sets the next question. */
  #take(answer: KmsAnswer, askedMs: number) {
    const verdict = decide(this.#lease, answer, this.options.terms, askedMs, Math.random());
    this.#lease = verdict.next;
    this.#pauseMs = verdict.wakeAtMs - askedMs;
    if (!this.#closed) {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#askSoon(), Math.max(0, verdict.wakeAtMs - performance.now()));
    }
    return verdict.act;
  }

  #gateChanged(event: string, message: string, code?: string): void {
    const gate = this.engineDisk.gate;
    this.log.info({ event, gate, uuid: this.disk.header.uuid, ...(code ? { code } : {}) }, message);
    this.onGateChange(gate);
  }
}
