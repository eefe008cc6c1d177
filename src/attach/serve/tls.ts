/**
 * TLS of a server: what stands in its files, read at the start and again when it is asked to.
 *
 * Kept true: a new connection gets what was read last, one that is there keeps what it began with. Files that are no good
 * refuse the start; later they are told in the log, and what was there stays. A private key is overwritten once the
 * engine has it.
 */

import { readFile, stat } from 'node:fs/promises';
import { engine, type TlsContext } from '../../engine/engine.js';
import { about, errnoOf, fail, failureOf } from '../../errors.js';
import type { Log } from '../../log.js';
import type { TlsOffer, TlsPeer } from '../../nbd/server.js';

export interface TlsOptions {
  readonly mode: 'on' | 'require';
  /** PEM: the chain, and the key of its first certificate. Both or none. */
  readonly certificatePath: string | undefined;
  readonly keyPath: string | undefined;
  /** PEM: who signs the certificates that clients must show. */
  readonly clientCaPath: string | undefined;
  /** Lines of `identity:hex`, as GnuTLS's psktool writes them. */
  readonly pskPath: string | undefined;
  readonly minimum: '1.2' | '1.3';
}

const OTHERS = 0o007;

export class ServedTls implements TlsOffer {
  readonly mode: 'on' | 'require';
  #context: TlsContext;

  private constructor(
    private readonly options: TlsOptions,
    context: TlsContext,
    private readonly log: Log,
  ) {
    this.mode = options.mode;
    this.#context = context;
  }

  /** Fails with TLS_* or DISK_IO when the files are no good. */
  static async open(options: TlsOptions, log: Log): Promise<ServedTls> {
    return new ServedTls(options, await read(options, log), log);
  }

  accept(): TlsPeer {
    return this.#context.accept();
  }

  /** Reads the files again. Never fails: what is no good is logged, and changes nothing. */
  async reload(): Promise<void> {
    const failure = await failureOf(async () => {
      const before = this.#context;
      this.#context = await read(this.options, this.log);
      before.close();
    });
    if (failure) {
      const message = `${failure.message}; TLS stays as it was`;
      this.log.error({ event: 'tls_reload_failed', code: failure.code, err: failure.cause }, message);
    } else {
      this.log.info({ event: 'tls_reloaded' }, 'new clients get the new certificates and keys');
    }
  }

  close(): void {
    this.#context.close();
  }
}

async function read(options: TlsOptions, log: Log): Promise<TlsContext> {
  const { certificatePath, keyPath, clientCaPath, pskPath, minimum } = options;
  const certificate = await contentOf(certificatePath);
  const privateKey = await secretOf(keyPath, log);
  const clientCa = await contentOf(clientCaPath);
  const psk = await secretOf(pskPath, log);
  try {
    return engine().tlsContext({
      ...(certificate && { certificate }),
      ...(privateKey && { privateKey }),
      ...(clientCa && { clientCa }),
      ...(psk && { psk }),
      verifyClient: clientCa !== undefined,
      minimum,
    });
  } catch (error) {
    throw about(certificatePath ?? pskPath ?? 'TLS', error);
  } finally {
    privateKey?.fill(0);
    psk?.fill(0);
  }
}

async function contentOf(path: string | undefined): Promise<Buffer | undefined> {
  if (path === undefined) return undefined;
  return readFile(path).catch((error) => fail('DISK_IO', { path, errno: errnoOf(error) }, error));
}

async function secretOf(path: string | undefined, log: Log): Promise<Buffer | undefined> {
  const content = await contentOf(path);
  if (path === undefined || content === undefined) return undefined;
  const { mode } = await stat(path);
  if ((mode & OTHERS) !== 0) {
    log.warn({ event: 'secret_readable', path }, `${path} holds a secret and is open to all: chmod o= it`);
  }
  return content;
}
