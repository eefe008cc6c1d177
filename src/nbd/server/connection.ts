/**
 * One connection from accept to the end of its transmission.
 *
 * When the handshake succeeds, the descriptor goes to `transmit`, which duplicates it. From that moment Node reads not
 * one byte more: reading stops inside the very callback that brought the last bytes. Node's own descriptor is closed
 * without shutdown(2), which would end the connection for the duplicate too, and only after every reply has left, so
 * that the engine's first bytes follow them. One timer covers all of it, also a peer that does not read its replies.
 *
 * From NBD_OPT_STARTTLS on, each byte of the socket goes through the TLS peer, which goes along with the descriptor; it
 * is closed here where there is no hand-over.
 */

import type { Socket } from 'node:net';
import { errnoOf, fail, SealdiskError, unreachable } from '../../errors.js';
import type { Export, Negotiated, Replies } from '../exports.js';
import { begin, enterTls, faultOfEnd, type Handshake, type Step, shutDown, step } from '../handshake.js';
import type { Limits } from '../limits.js';
import type { TlsOffer, TlsPeer } from '../tls-peer.js';
import { type Activity, watchIdle } from './idle.js';

export interface TransmitArgs {
  /** The connected socket, non-blocking. Duplicate it before you return: it is closed right after. */
  readonly fd: number;
  readonly negotiated: Negotiated;
  /** The first bytes of the transmission phase, already read. */
  readonly rest: Buffer;
  /** HOST:PORT of a TCP peer, "unix" of a local one. */
  readonly peer: string;
  /** The TLS that the client began: yours from now on, also to close. `rest` is plaintext. */
  readonly tls?: TlsPeer;
}

export interface Transmission {
  /** Settles when the connection has ended, in whatever way. */
  readonly ended: Promise<unknown>;
  /** Ends it soon. Twice is fine. */
  close(): void;
  /** A transmission without it is never idle. */
  activity?(): Activity;
}

export type ConnectionEvent =
  | { readonly kind: 'connected'; readonly peer: string }
  /** The handshake ended without a transmission; `error` is missing where the peer left in good order. */
  | { readonly kind: 'closed'; readonly peer: string; readonly error?: unknown }
  /** TLS stands; `clientName` is missing where the client has not said who it is. */
  | { readonly kind: 'secured'; readonly peer: string; readonly clientName?: string }
  | { readonly kind: 'transmitting'; readonly peer: string; readonly negotiated: Negotiated }
  /** The transmission had no request for `idleMs`, and is closed for it. */
  | { readonly kind: 'idle'; readonly peer: string; readonly idleMs: number }
  /** The transmission ended; `error` is what `ended` was rejected with. */
  | { readonly kind: 'ended'; readonly peer: string; readonly error?: unknown };

export interface Surroundings {
  readonly exports: () => readonly Export[];
  readonly replies: Replies;
  readonly tls: TlsOffer | undefined;
  readonly transmit: (args: TransmitArgs) => Transmission;
  readonly limits: Limits;
  readonly emit: (event: ConnectionEvent) => void;
}

type Stage =
  | { readonly kind: 'handshake'; readonly state: Handshake }
  /** The last replies are on their way; nothing is read any more. */
  | { readonly kind: 'handing over' }
  | { readonly kind: 'transmitting'; readonly transmission: Transmission }
  | { readonly kind: 'ending'; readonly error?: unknown };

export class Connection {
  /** Resolves when nothing of the connection is left, the transmission included. */
  readonly gone: Promise<void>;
  readonly #socket: Socket;
  readonly #around: Surroundings;
  readonly #peer: string;
  #timer: NodeJS.Timeout;
  #tls: TlsPeer | undefined;
  #stage: Stage = { kind: 'ending' };

  constructor(socket: Socket, peer: string, around: Surroundings) {
    this.#socket = socket;
    this.#around = around;
    this.#peer = peer;
    around.emit({ kind: 'connected', peer });
    this.#timer = setTimeout(() => this.#onTimeout(), around.limits.handshakeMs);
    this.gone = new Promise((resolve) => socket.once('close', () => resolve(this.#onSocketClosed())));
    socket.on('error', (error) => this.#onSocketError(error));
    socket.on('end', () => this.#onEnd());
    socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    this.#guarded(() => {
      const { exports, limits, replies, tls } = around;
      const { next, output } = begin(exports(), limits, { replies, tls: tls?.mode ?? 'off' });
      this.#stage = { kind: 'handshake', state: next };
      this.#send(output);
    });
  }

  /** Ends it, at whatever stage; a handshake has its time to hear why. Twice is fine. */
  close(): void {
    const stage = this.#stage;
    if (stage.kind === 'transmitting') stage.transmission.close();
    else if (stage.kind === 'handshake') this.#shutDown(stage.state);
    else this.#socket.destroy();
  }

  #shutDown(state: Handshake): void {
    this.#stage = { kind: 'handshake', state: shutDown(state) };
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#stage = { kind: 'ending' };
      this.#socket.destroy();
    }, this.#around.limits.shutdownMs);
  }

  #onData(chunk: Buffer): void {
    const stage = this.#stage;
    if (stage.kind !== 'handshake') return;
    const unreadBytes = this.#socket.writableLength;
    const { unreadRepliesMaxBytes } = this.#around.limits;
    if (unreadBytes > unreadRepliesMaxBytes) {
      const expected = `at most ${unreadRepliesMaxBytes} bytes`;
      this.#cut(new SealdiskError('NBD_PROTOCOL', { what: 'unread replies', found: unreadBytes, expected }));
      return;
    }
    this.#guarded(() => this.#take(stage.state, chunk));
  }

  #take(state: Handshake, chunk: Buffer): void {
    const tls = this.#tls;
    if (!tls) {
      this.#follow(step(state, chunk));
      return;
    }
    const { plaintext, output, established, closed } = tls.feed(chunk);
    this.#write(output);
    const inside = established && state.phase === 'tls' ? this.#enterTls(state, tls) : state;
    if (plaintext.length > 0) this.#follow(step(inside, plaintext));
    if (closed) this.#onEnd();
  }

  #enterTls(state: Handshake, { clientName }: TlsPeer): Handshake {
    const { emit } = this.#around;
    emit({ kind: 'secured', peer: this.#peer, ...(clientName === undefined ? {} : { clientName }) });
    const inside = enterTls(state, clientName);
    this.#stage = { kind: 'handshake', state: inside };
    return inside;
  }

  #follow({ next, output, verdict }: Step): void {
    switch (verdict.kind) {
      case 'more':
        this.#stage = { kind: 'handshake', state: next };
        this.#send(output);
        return;
      case 'tls': {
        const tls = this.#around.tls?.accept() ?? fail('INTERNAL', { what: 'TLS that was not offered' });
        this.#send(output);
        this.#tls = tls;
        this.#stage = { kind: 'handshake', state: next };
        return;
      }
      case 'close':
        this.#send(output);
        this.#end(verdict.fault && new SealdiskError('NBD_PROTOCOL', verdict.fault));
        return;
      case 'transmit': {
        stopReading(this.#socket);
        this.#stage = { kind: 'handing over' };
        const { negotiated, rest } = verdict;
        this.#send(output, () => this.#handOver(negotiated, Buffer.from(rest)));
        return;
      }
      default:
        unreachable(verdict);
    }
  }

  #send(output: readonly Uint8Array[], then?: () => void): void {
    const said = Buffer.concat(output);
    this.#write(this.#tls && said.length > 0 ? this.#tls.write(said) : said, then);
  }

  /** `then` is called once all of it is with the kernel; not at all when the peer went before. */
  #write(bytes: Uint8Array, then?: () => void): void {
    if (bytes.length === 0) return;
    this.#socket.write(bytes, (error) => {
      if (!error) then?.();
    });
  }

  #handOver(negotiated: Negotiated, rest: Buffer): void {
    if (this.#socket.destroyed) return;
    const { transmit, emit } = this.#around;
    const peer = this.#peer;
    const tls = this.#tls && { tls: this.#tls };
    this.#guarded(() => {
      const fd = descriptorOf(this.#socket);
      this.#stage = { kind: 'transmitting', transmission: transmit({ fd, negotiated, rest, peer, ...tls }) };
    });
    this.#socket.destroy();
    if (this.#stage.kind === 'transmitting') emit({ kind: 'transmitting', peer, negotiated });
  }

  /** Sends what is written, and TLS's last words while it is still ours, then closes. */
  #end(error?: unknown): void {
    const tls = this.#stage.kind === 'handshake' ? this.#tls : undefined;
    this.#stage = error === undefined ? { kind: 'ending' } : { kind: 'ending', error };
    stopReading(this.#socket);
    const lastWords = tls?.end?.();
    if (lastWords) this.#write(lastWords);
    this.#socket.destroySoon();
  }

  /** Closes at once: a peer that does not read gets no last words. */
  #cut(error: unknown): void {
    this.#stage = { kind: 'ending', error };
    this.#socket.destroy();
  }

  /** A failure of ours, or of `exports` and `transmit`, ends this connection and no other. */
  #guarded(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.#end(error);
    }
  }

  #onTimeout(): void {
    const { handshakeMs: timeoutMs } = this.#around.limits;
    if (this.#stage.kind === 'ending') this.#socket.destroy();
    else this.#cut(new SealdiskError('NBD_HANDSHAKE_TIMEOUT', { timeoutMs }));
  }

  #onEnd(): void {
    if (this.#stage.kind !== 'handshake') return;
    const fault = faultOfEnd(this.#stage.state);
    this.#end(fault && new SealdiskError('NBD_PROTOCOL', fault));
  }

  #onSocketError(error: Error): void {
    if (this.#stage.kind !== 'handshake' && this.#stage.kind !== 'handing over') return;
    const facts = { what: 'connection', found: errnoOf(error), expected: 'an end in good order' };
    this.#stage = { kind: 'ending', error: new SealdiskError('NBD_PROTOCOL', facts, error) };
  }

  async #onSocketClosed(): Promise<void> {
    clearTimeout(this.#timer);
    const { emit } = this.#around;
    const peer = this.#peer;
    const stage = this.#stage;
    if (stage.kind !== 'transmitting') {
      this.#tls?.close();
      emit({ kind: 'closed', peer, ...('error' in stage ? { error: stage.error } : {}) });
      return;
    }
    const stopWatching = this.#watchIdle(stage.transmission);
    await stage.transmission.ended.then(
      () => emit({ kind: 'ended', peer }),
      (error: unknown) => emit({ kind: 'ended', peer, error }),
    );
    stopWatching();
  }

  #watchIdle(transmission: Transmission): () => void {
    const { emit, limits } = this.#around;
    const { idleMs } = limits;
    if (idleMs === 0) return () => {};
    return watchIdle(transmission, idleMs, () => {
      emit({ kind: 'idle', peer: this.#peer, idleMs });
      transmission.close();
    });
  }
}

interface Handle {
  readonly fd: number;
  readStop(): number;
}

function handleOf(socket: Socket): Handle | null {
  return (socket as unknown as { _handle: Handle | null })._handle;
}

/** pause() only asks the stream; libuv would go on reading into it. This stops libuv at once, and because the stream
 *  still believes that it reads, nothing of it starts libuv again. */
function stopReading(socket: Socket): void {
  handleOf(socket)?.readStop();
}

function descriptorOf(socket: Socket): number {
  const fd = handleOf(socket)?.fd ?? -1;
  return fd >= 0 ? fd : fail('INTERNAL', { what: 'a connected socket without a descriptor' });
}
