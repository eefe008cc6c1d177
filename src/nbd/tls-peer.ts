/**
 * The server's end of a TLS connection, as this room needs it: bytes in, bytes out, no socket.
 *
 * Who implements it owns the keys and the cryptography; this room only decides when TLS begins (NBD_OPT_STARTTLS) and
 * moves the bytes. A peer is driven by one connection, and closed by whom it belongs to at the end.
 */

export interface TlsProgress {
  /** What the other side said inside TLS since the last call. */
  readonly plaintext: Uint8Array;
  /** Ciphertext to send. */
  readonly output: Uint8Array;
  /** The TLS handshake has succeeded. */
  readonly established: boolean;
  /** The other side has ended its half in good order (close_notify). */
  readonly closed: boolean;
}

export interface TlsPeer {
  /** Takes in bytes of the socket; throws when the other side breaks TLS, or may not enter. */
  feed(ciphertext: Uint8Array): TlsProgress;
  /** Ciphertext to send for `plaintext`. */
  write(plaintext: Uint8Array): Uint8Array;
  /** CN of a verified client certificate, or the PSK identity; undefined where there is neither, and before `established`. */
  readonly clientName: string | undefined;
  /** Ciphertext of the last words: that we end in good order, or the alert that tells why `feed` threw. */
  end?(): Uint8Array;
  /** Wipes its keys. Twice is fine. */
  close(): void;
}

export interface TlsOffer {
  /** `require`: nothing but NBD_OPT_STARTTLS and NBD_OPT_ABORT is answered without TLS. */
  readonly mode: 'on' | 'require';
  /** A peer for one new connection. */
  accept(): TlsPeer;
}
