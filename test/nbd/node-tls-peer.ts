/** A TlsPeer whose TLS is Node's: a thread of its own runs node:tls, and each call waits for it. */

import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import type { TlsOffer, TlsPeer, TlsProgress } from '#sealdisk/nbd/server.js';
import type { Certificates } from './certificates.js';

const DEADLINE_MS = 20_000;

interface Answer extends TlsProgress {
  readonly error?: string;
  readonly clientName?: string;
}

export class NodeTlsPeer implements TlsPeer {
  clientName: string | undefined;
  /** How often close was called. */
  closes = 0;
  readonly #port: MessagePort;
  readonly #done = new Int32Array(new SharedArrayBuffer(4));
  readonly #worker: Worker;

  /** `options` are those of tls.createServer. */
  constructor(options: object) {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    this.#worker = new Worker(new URL('./node-tls-worker.js', import.meta.url), {
      workerData: { port: port2, done: this.#done, options },
      transferList: [port2],
    });
    this.#worker.unref();
  }

  #call(verb: 'feed' | 'write', bytes: Uint8Array): Answer {
    Atomics.store(this.#done, 0, 0);
    this.#port.postMessage({ verb, bytes });
    if (Atomics.wait(this.#done, 0, 0, DEADLINE_MS) === 'timed-out')
      throw new Error('node:tls does not answer');
    const answer: Answer = receiveMessageOnPort(this.#port)?.message;
    if (answer.error !== undefined) throw new Error(`TLS: ${answer.error}`);
    this.clientName = answer.clientName;
    return answer;
  }

  feed(ciphertext: Uint8Array): TlsProgress {
    return this.#call('feed', ciphertext);
  }

  write(plaintext: Uint8Array): Uint8Array {
    return this.#call('write', plaintext).output;
  }

  close(): void {
    this.closes += 1;
    void this.#worker.terminate();
  }
}

/** Peers for a server with these certificates; clients may show one of theirs. `peers` are those that were made. */
export function nodeTls(
  { ca, certificate, privateKey }: Certificates,
  mode: TlsOffer['mode'],
): TlsOffer & { readonly peers: NodeTlsPeer[] } {
  const options = { ca, cert: certificate, key: privateKey, requestCert: true, rejectUnauthorized: false };
  const peers: NodeTlsPeer[] = [];
  return {
    mode,
    peers,
    accept: () => {
      const peer = new NodeTlsPeer(options);
      peers.push(peer);
      return peer;
    },
  };
}
