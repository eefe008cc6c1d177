/**
 * What a row of the comparison is asked of: one server, reached by fresh connections, and a part of its disk that no
 * other row touches. And the row itself: a question, whose answer is one cell of the table.
 *
 * Kept true: every connection of a row is closed when the row has its answer.
 */

import { once } from 'node:events';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import { ask, contexts, greet, OPT, Session, type Style, tell } from './client.js';
import type { Proof } from './proofs.js';
import { Closed, Peer, Refused, Silent, Wrong } from './wire.js';

/** How a server is started: as it is best, for reading only, with TLS allowed, demanded, or by a shared key. */
export type Flavour = 'plain' | 'read-only' | 'tls' | 'tls-required' | 'tls-client' | 'psk';

/** The server cannot be started in the flavour that a row needs. */
export class NotOffered extends Error {}

export const EXPORT = 'disk';
export const DESCRIPTION = 'a disk';
export const SIZE_BYTES = 8n << 30n;
export const MIB = 1 << 20;

/** The certificates and the shared key of one measurement, as files and as what node:tls takes. */
export interface Secrets {
  readonly dir: string;
  readonly ca: Buffer;
  readonly client: { readonly cert: Buffer; readonly key: Buffer };
  readonly psk: { readonly identity: string; readonly psk: Buffer };
}

export class Target {
  #peers: Peer[] = [];

  constructor(
    readonly secrets: Secrets,
    /** Where the row's own MiB begins. */
    readonly offset: number,
    private readonly dial: (flavour: Flavour) => Promise<Peer>,
    /** Whether the server is still there. */
    readonly lives: () => Promise<boolean>,
  ) {}

  /** A connection that has said and heard nothing. */
  async connect(flavour: Flavour = 'plain'): Promise<Peer> {
    return this.#keep(await this.dial(flavour));
  }

  /** A connection in the option phase. */
  async greeted(flavour: Flavour = 'plain', clientFlags = 3): Promise<Peer> {
    const peer = await this.connect(flavour);
    await greet(peer, clientFlags);
    return peer;
  }

  /** A session in the transmission phase. */
  async session(
    style: Style = 'simple',
    over: { flavour?: Flavour; contexts?: readonly string[]; information?: readonly number[] } = {},
  ): Promise<Session> {
    const peer = await this.greeted(over.flavour);
    return this.transmit(peer, style, over);
  }

  async transmit(
    peer: Peer,
    style: Style,
    over: { contexts?: readonly string[]; information?: readonly number[] } = {},
  ): Promise<Session> {
    if (style === 'structured') await ask(peer, OPT.STRUCTURED_REPLY);
    if (style === 'extended') await ask(peer, OPT.EXTENDED_HEADERS);
    if (over.contexts !== undefined) {
      const chosen = await contexts(peer, OPT.SET_META_CONTEXT, EXPORT, over.contexts);
      if (chosen.size < over.contexts.length) throw new Refused('no such context');
    }
    return new Session(peer, style, await tell(peer, OPT.GO, EXPORT, over.information));
  }

  /** Asks for TLS and shakes hands; the connection goes on inside. */
  async startTls(peer: Peer, over: ConnectionOptions = {}): Promise<Peer> {
    await ask(peer, OPT.STARTTLS);
    return (await this.shakeHands(peer, over)).peer;
  }

  async shakeHands(peer: Peer, over: ConnectionOptions = {}): Promise<{ peer: Peer; socket: TLSSocket }> {
    const options = {
      socket: peer.release(),
      ca: this.secrets.ca,
      servername: 'localhost',
      ...this.secrets.client,
      ...over,
    };
    const socket = connectTls(options as ConnectionOptions);
    try {
      await once(socket, 'secureConnect');
    } catch (error) {
      socket.destroy();
      throw new Refused(`TLS: ${(error as NodeJS.ErrnoException).code}`);
    }
    return { peer: this.#keep(new Peer(socket)), socket };
  }

  async close(): Promise<void> {
    for (const peer of this.#peers.splice(0)) await peer.close();
  }

  #keep(peer: Peer): Peer {
    this.#peers.push(peer);
    return peer;
  }
}

export interface Row {
  readonly subject: string;
  readonly rule: string;
  readonly proof: Proof;
  /** What the specification demands of the answer where it leaves no choice. */
  readonly must?: RegExp;
  ask(target: Target): Promise<string | undefined>;
}

export interface Group {
  readonly title: string;
  readonly rows: readonly Row[];
}

/** The cell for the row: `supported` unless the question found another word for it. */
export async function cell(row: Row, target: Target): Promise<string> {
  const said = await row.ask(target).then((answer) => answer ?? 'supported', verdict);
  await target.close();
  if (said === 'closed' && !(await target.lives())) return 'wrong: the server dies';
  return row.must === undefined || row.must.test(said) || /^(wrong|not offered)/.test(said)
    ? said
    : `wrong: ${said}`;
}

function verdict(error: unknown): string {
  if (error instanceof Refused) return `refused with ${error.message}`;
  if (error instanceof Closed) return 'closed';
  if (error instanceof Silent) return 'wrong: no answer';
  if (error instanceof Wrong) return `wrong: ${error.message}`;
  if (error instanceof NotOffered) return 'not offered';
  throw error;
}

/** Throws Wrong unless the condition holds. */
export function demand(condition: boolean, otherwise: string): asserts condition {
  if (!condition) throw new Wrong(otherwise);
}

/** What the promise is refused with; Wrong when it is not. */
export async function refusal(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof Refused) return `refused with ${error.message}`;
    throw error;
  }
  return 'supported';
}
