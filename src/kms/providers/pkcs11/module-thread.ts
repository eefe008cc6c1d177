/**
 * A PKCS#11 module as the main thread sees it: a thread of its own that is asked one thing at a time.
 *
 * The calls of a module block, a network HSM's for minutes, and the main thread serves the control sockets and leases of
 * all disks. A module is initialized once in a process and its logins are the process's, so all providers of one module
 * share one thread. A call that is given up at its deadline goes on in the thread, and those behind it wait for it until
 * their own deadlines: no second thread could use the module meanwhile.
 *
 * Plaintext passes in the mailbox: memory of both threads, locked and left out of core files, wiped when it was taken.
 */

import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import sodium from 'sodium-native';
import { fail, SealdiskError } from '../../../errors.js';
import type { Deadline } from '../../local/deadline.js';
import { PLAINTEXT_MAX_BYTES, TAG_BYTES } from '../sealed-key.js';
import type { Answer, Done, KeyWork, ThreadData, Work } from './work.js';

/** Some modules want room for the whole ciphertext to decrypt it. */
const MAILBOX_BYTES = PLAINTEXT_MAX_BYTES + TAG_BYTES;

const threads = new Map<string, ModuleThread>();

export class ModuleThread {
  readonly #mailbox: SharedArrayBuffer;
  #users = 0;
  #worker: Worker | undefined;
  /** Takes the answer that is awaited; undefined when the thread ended. */
  #heard: ((answer: Answer | undefined) => void) | undefined;
  /** Settled when the thread has answered all that it was asked. */
  #idle: Promise<unknown> = Promise.resolve();

  private constructor(private readonly modulePath: string) {
    this.#mailbox = new SharedArrayBuffer(MAILBOX_BYTES);
    try {
      sodium.sodium_mlock(Buffer.from(this.#mailbox));
    } catch (error) {
      fail('KMS_STORE', { path: 'secure memory', why: 'memory cannot be locked (ulimit -l)' }, error);
    }
  }

  /** The thread of this module, for one user more, who leaves it. It starts with the first question. */
  static join(modulePath: string): ModuleThread {
    const thread = threads.get(modulePath) ?? new ModuleThread(modulePath);
    threads.set(modulePath, thread);
    thread.#users += 1;
    return thread;
  }

  /**
   * What `take` makes of the answer and of the plaintext that came with it, which is wiped after. Fails as the provider
   * contract says; `dispose` gets what came after the deadline.
   */
  async ask<T>(
    work: KeyWork,
    deadline: Deadline,
    take: (done: Done, plaintext: Buffer) => T,
    dispose: (late: T) => void = () => {},
  ): Promise<T> {
    return deadline.bound(() => {
      const turn = this.#idle.then(async () => {
        deadline.check();
        return this.#exchange(work, take);
      });
      this.#idle = turn.catch(() => {});
      return turn;
    }, dispose);
  }

  /** The last one to leave ends the module. Waits for that unless the module is stuck. */
  async leave(): Promise<void> {
    this.#users -= 1;
    if (this.#users > 0) return;
    this.#idle = this.#idle.then(async () => {
      if (this.#users === 0 && this.#worker) await this.#send(this.#worker, { verb: 'end' });
    });
    await Promise.race([this.#idle, shortly()]);
  }

  async #exchange<T>(work: KeyWork, take: (done: Done, plaintext: Buffer) => T): Promise<T> {
    this.#worker ??= this.#start();
    const answer = await this.#send(this.#worker, work);
    if (answer === undefined) {
      const why = `the thread of ${this.modulePath} ended`;
      return fail('KMS_SERVER_ERROR', { keyUri: work.keyUri, why });
    }
    if ('failure' in answer) throw SealdiskError.fromJSON(answer.failure);
    const mailbox = Buffer.from(this.#mailbox);
    try {
      return take(answer.done, mailbox.subarray(0, answer.done.plainBytes));
    } finally {
      sodium.sodium_memzero(mailbox);
    }
  }

  #start(): Worker {
    const main = createRequire(import.meta.url).resolve('#sealdisk/bin/pkcs11-thread-main.cjs');
    const data: ThreadData = { modulePath: this.modulePath, mailbox: this.#mailbox };
    const worker = new Worker(main, { workerData: data });
    worker.unref();
    worker.on('message', (answer: Answer) => this.#heard?.(answer));
    worker.on('error', () => {}); // 'exit' follows
    worker.on('exit', () => {
      this.#worker = undefined;
      this.#heard?.(undefined);
    });
    return worker;
  }

  /** The answer; undefined when the thread ended instead. The process stays for it. */
  async #send(worker: Worker, work: Work): Promise<Answer | undefined> {
    worker.ref();
    try {
      return await new Promise<Answer | undefined>((resolve) => {
        this.#heard = resolve;
        worker.postMessage(work);
      });
    } finally {
      this.#heard = undefined;
      worker.unref();
    }
  }
}

const shortly = (): Promise<void> => new Promise((go) => setTimeout(go, 1000).unref());
