/** TLS of the engine as the handshake is offered it, with a count of how often each peer was closed. */

import { engine, type TlsSession } from '#sealdisk/engine/engine.js';
import type { TlsOffer } from '#sealdisk/nbd/server.js';
import type { Certificates } from './certificates.js';

export type CountedPeer = TlsSession & { closes: number };

export interface CountedOffer extends TlsOffer {
  /** Those that were made, in their order. */
  readonly peers: readonly CountedPeer[];
}

function counted(peer: TlsSession): CountedPeer {
  const close = peer.close.bind(peer);
  const own: CountedPeer = Object.assign(peer, { closes: 0 });
  own.close = () => {
    own.closes += 1;
    close();
  };
  return own;
}

/** Peers of a server with these certificates; clients may show one of theirs. */
export function tlsOffer(
  { ca, certificate, privateKey }: Certificates,
  mode: TlsOffer['mode'],
): CountedOffer {
  const context = engine().tlsContext({
    certificate,
    privateKey: Buffer.from(privateKey), // overwritten there
    clientCa: ca,
    verifyClient: false,
    minimum: '1.2',
  });
  const peers: CountedPeer[] = [];
  const accept = (): CountedPeer => {
    const peer = counted(context.accept());
    peers.push(peer);
    return peer;
  };
  return { mode, peers, accept };
}
