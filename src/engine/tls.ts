/**
 * TLS as the rooms above see it: what the server shows and demands, and a session that serves the handshake of one
 * connection, bytes in and bytes out, until the engine takes it over (ServeOptions.tls).
 *
 * No payload of the transmission phase passes here, but for what came in one read with the handshake's last bytes.
 */

import { fail } from '../errors.js';

export interface TlsOptions {
  /** PEM: the server's own certificate, then those that lead to its CA. */
  readonly certificate?: Uint8Array;
  /** PEM, without a passphrase. Overwritten. */
  readonly privateKey?: Uint8Array;
  /** PEM: who signs client certificates. Clients are asked for one, and a bad one is refused. */
  readonly clientCa?: Uint8Array;
  /** A client without a certificate is refused, unless a pre-shared key let it in. */
  readonly verifyClient: boolean;
  /** Pre-shared keys as psktool writes them, NAME:HEX a line. Overwritten. */
  readonly psk?: Uint8Array;
  readonly minimum: '1.2' | '1.3';
}

export interface TlsProgress {
  /** What the client said inside TLS since the last call. */
  readonly plaintext: Buffer;
  /** Ciphertext to send. */
  readonly output: Buffer;
  /** The handshake has succeeded. */
  readonly established: boolean;
  /** The client has ended its half in good order. */
  readonly closed: boolean;
}

export interface TlsSession {
  /** Takes in bytes of the socket; fails with TLS_PEER when the client breaks TLS or may not enter. */
  feed(ciphertext: Uint8Array): TlsProgress;
  /** Ciphertext to send for `plaintext`; not before `established`. */
  write(plaintext: Uint8Array): Buffer;
  /** CN of a verified client certificate, or the name of the pre-shared key; undefined without, and before `established`. */
  readonly clientName: string | undefined;
  /** Ciphertext of the last words: that we end in good order, or the alert that tells the client why `feed` failed. */
  end(): Buffer;
  /** Wipes its keys. Twice is fine. */
  close(): void;
}

export interface TlsContext {
  /** The server's end of one new connection. */
  accept(): TlsSession;
  /** Accepts no more; sessions that are there live on. Twice is fine. */
  close(): void;
}

/** What the addon throws. */
interface NativeError extends Error {
  readonly code: string;
  readonly found?: string;
  readonly expected?: string;
}

/** Runs `work`; what the addon throws is catalogued, but for a fault of ours. */
function cataloguing<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    const { code, message, found = '', expected = '' } = error as NativeError;
    switch (code) {
      case 'TLS_CERTIFICATE':
      case 'TLS_PRIVATE_KEY':
      case 'TLS_CLIENT_CA':
      case 'TLS_PSK':
        return fail(code, { found, expected }, error);
      case 'TLS_PEER':
        return fail(code, { why: message }, error);
      case 'INVALID':
        throw error;
      default:
        return fail('ENGINE_SYSTEM', { what: 'TLS', errno: code }, error);
    }
  }
}

/** The same session, whose failures are catalogued. */
class CataloguedSession implements TlsSession {
  readonly #native: TlsSession;

  constructor(native: TlsSession) {
    this.#native = native;
  }

  static nativeOf(session: object): TlsSession {
    if (!(#native in session)) return fail('INTERNAL', { what: 'a TLS session that is not the engine’s' });
    return session.#native;
  }

  feed(ciphertext: Uint8Array): TlsProgress {
    return cataloguing(() => this.#native.feed(ciphertext));
  }

  write(plaintext: Uint8Array): Buffer {
    return cataloguing(() => this.#native.write(plaintext));
  }

  get clientName(): string | undefined {
    return this.#native.clientName;
  }

  end(): Buffer {
    return this.#native.end();
  }

  close(): void {
    this.#native.close();
  }
}

/** What the addon knows of a session that `cataloguedContext` gave out. */
export const nativeSession = (session: object): TlsSession => CataloguedSession.nativeOf(session);

/** The context that `make` gives; its failures, and those of making it, are catalogued. */
export function cataloguedContext(make: () => TlsContext): TlsContext {
  const native = cataloguing(make);
  return {
    accept: () => new CataloguedSession(cataloguing(() => native.accept())),
    close: () => native.close(),
  };
}
