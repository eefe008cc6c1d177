/**
 * One connection to a KMIP server over mutual TLS, kept and reopened; one request at a time.
 *
 * Kept true: a reply is to the request that was sent last on its connection, else the connection is gone: one that timed
 * out, spoke unasked or spoke no KMIP is not used again. What the server sends lands in secure memory, and not more of it than
 * REPLY_MAX_BYTES. A request that met a kept connection's end is sent once more on a new one: all of them are harmless.
 */

import { readFile } from 'node:fs/promises';
import { isIP, type OnReadOpts } from 'node:net';
import {
  type ConnectionOptions,
  connect,
  createSecureContext,
  type SecureContext,
  type TLSSocket,
} from 'node:tls';
import { errnoOf, fail, isFailure, SealdiskError } from '../../../errors.js';
import type { Deadline } from '../../local/deadline.js';
import { allocSecret, freeSecret } from '../../local/secret.js';
import type { SecretBytes } from '../../provider.js';
import { transportFailure } from '../../transport.js';
import { REPLY_MAX_BYTES } from './message.js';
import { HEAD_BYTES, messageBytes } from './ttlv.js';
import type { TlsFiles } from './uri.js';

const CHUNK_BYTES = 4096;
/** By these a server tells that it does not take our certificate. */
const CERTIFICATE_ALERT = /^ERR_SSL_(TLSV1|TLSV13|SSLV3)_ALERT_.*(CERTIFICATE|CA|ACCESS_DENIED)/;

export interface Address {
  readonly host: string;
  readonly port: number;
}

export class KmipConnection {
  readonly #reply = allocSecret(REPLY_MAX_BYTES);
  readonly #chunk = allocSecret(CHUNK_BYTES);
  #received = 0;
  #socket: TLSSocket | undefined;
  /** Ends what is waited for: undefined when it is there. */
  #settle: ((failure?: Error) => void) | undefined;
  /** True from the request on until its reply is whole. */
  #asked = false;
  #idle: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(
    private readonly address: Address,
    private readonly files: TlsFiles,
    private readonly keyUri: string,
  ) {}

  /**
   * What `read` makes of the reply, which is wiped after. `request` is freed here. Fails as the provider contract says;
   * `dispose` gets what came after the deadline.
   */
  async exchange<T>(
    request: SecretBytes,
    deadline: Deadline,
    read: (reply: Buffer) => T,
    dispose: (late: T) => void = () => {},
  ): Promise<T> {
    const mine = this.#idle.then(async () => {
      try {
        deadline.check();
        await this.#send(request, deadline);
        return read(this.#reply.subarray(0, this.#received));
      } catch (error) {
        const failure = this.#failure(error);
        // Who spoke no KMIP once may speak out of turn the next time.
        if (failure.code === 'KMS_BAD_REPLY') this.#drop(failure);
        throw failure;
      } finally {
        this.#forget();
        freeSecret(request);
      }
    });
    this.#idle = mine.catch(() => {});
    return deadline.bound(() => mine, dispose);
  }

  /** Twice is fine. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#drop(closed());
    await this.#idle;
    freeSecret(this.#reply);
    freeSecret(this.#chunk);
  }

  // --- one exchange

  async #send(request: SecretBytes, deadline: Deadline): Promise<void> {
    if (this.#socket) {
      try {
        return await this.#ask(this.#socket, request, deadline);
      } catch (error) {
        // A kept connection may have ended long ago, which only its next use shows.
        if (isFailure(error) || this.#received > 0) throw error;
      }
    }
    await this.#ask(await this.#connect(deadline), request, deadline);
  }

  async #ask(socket: TLSSocket, request: SecretBytes, deadline: Deadline): Promise<void> {
    await this.#await(deadline, () => {
      this.#asked = true;
      socket.write(request);
    });
  }

  async #connect(deadline: Deadline): Promise<TLSSocket> {
    const secureContext = await this.#context();
    if (this.#closed) throw closed();
    deadline.check();
    const { host, port } = this.address;
    // The published types of TLS lack onread.
    const options: ConnectionOptions & { onread: OnReadOpts } = {
      host,
      port,
      secureContext,
      ...(isIP(host) ? {} : { servername: host }),
      onread: { buffer: this.#chunk, callback: (length) => this.#take(socket, length) },
    };
    const socket = connect(options);
    this.#socket = socket;
    socket.on('error', (error) => this.#ended(socket, error));
    socket.on('close', () => this.#ended(socket, closed()));
    await this.#await(deadline, () => socket.once('secureConnect', () => this.#settle?.()));
    return socket;
  }

  /** Waits for `#settle`, until the deadline, which ends the connection. */
  async #await(deadline: Deadline, begin: () => void): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        this.#settle = (failure) => (failure ? reject(failure) : resolve());
        timer = setTimeout(() => this.#drop(this.#timeout(deadline)), deadline.remainingMs);
        begin();
      });
    } finally {
      clearTimeout(timer);
      this.#settle = undefined;
      this.#asked = false;
    }
  }

  /** `length` bytes came and stand in the chunk. */
  #take(socket: TLSSocket, length: number): boolean {
    const chunk = this.#chunk.subarray(0, length);
    const at = this.#received;
    const fits = at + length <= REPLY_MAX_BYTES;
    const asked = socket === this.#socket && this.#asked;
    if (asked && fits) {
      chunk.copy(this.#reply, at);
      this.#received += length;
    }
    chunk.fill(0);
    if (!asked) this.#drop(this.#bad('it speaks unasked'));
    else if (!fits) this.#drop(this.#bad(`a reply of more than ${REPLY_MAX_BYTES} bytes`));
    else this.#look();
    return true;
  }

  /** Is the reply whole? */
  #look(): void {
    if (this.#received < HEAD_BYTES) return;
    const expected = messageBytes(this.#reply);
    if (expected > REPLY_MAX_BYTES) this.#drop(this.#bad(`a reply of more than ${REPLY_MAX_BYTES} bytes`));
    else if (this.#received > expected) this.#drop(this.#bad('more than a reply'));
    else if (this.#received === expected) this.#settle?.();
  }

  #forget(): void {
    if (this.#received > 0) this.#reply.fill(0);
    this.#received = 0;
  }

  // --- ends

  #ended(socket: TLSSocket, error: Error): void {
    if (socket === this.#socket) this.#drop(error);
  }

  #drop(failure: Error): void {
    this.#socket?.destroy();
    this.#socket = undefined;
    this.#settle?.(failure);
  }

  #timeout({ timeoutMs }: Deadline): SealdiskError {
    return new SealdiskError('KMS_TIMEOUT', { keyUri: this.keyUri, timeoutMs });
  }

  #bad(why: string): SealdiskError {
    return new SealdiskError('KMS_BAD_REPLY', { keyUri: this.keyUri, why });
  }

  #failure(error: unknown): SealdiskError {
    const { keyUri } = this;
    if (isFailure(error)) return error;
    if (CERTIFICATE_ALERT.test(errnoOf(error))) {
      const why = `its server refuses our certificate (${errnoOf(error)})`;
      return new SealdiskError('KMS_CREDENTIALS', { keyUri, why }, error);
    }
    return (
      transportFailure(error, keyUri) ??
      new SealdiskError('KMS_CONNECTION', { keyUri, why: errnoOf(error) }, error)
    );
  }

  // --- who we are, and whom we trust

  /** Read for each connection, so that certificates may be renewed under a disk that is attached. */
  async #context(): Promise<SecureContext> {
    const [ca, cert, key] = await Promise.all([this.#file('ca'), this.#file('cert'), this.#file('key')]);
    try {
      return createSecureContext({ ca, cert, key, minVersion: 'TLSv1.2' });
    } catch (error) {
      const why = `no PEM files of a CA, a certificate and its key without a passphrase (${errnoOf(error)})`;
      return fail('KMS_CREDENTIALS', { keyUri: this.keyUri, why }, error);
    } finally {
      key.fill(0);
    }
  }

  async #file(name: 'ca' | 'cert' | 'key'): Promise<Buffer> {
    const { keyUri } = this;
    const path = this.files[name];
    if (!path)
      return fail('KMS_CREDENTIALS', {
        keyUri,
        why: `neither ${name}= nor SEALDISK_KMIP_${name.toUpperCase()}`,
      });
    try {
      return await readFile(path);
    } catch (error) {
      return fail('KMS_CREDENTIALS', { keyUri, why: `${path}: ${errnoOf(error)}` }, error);
    }
  }
}

const closed = (): Error => Object.assign(new Error('connection closed'), { code: 'ECONNRESET' });
