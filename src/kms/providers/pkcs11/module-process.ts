/**
 * A PKCS#11 module as its providers see it: a process of its own that is asked one thing at a time.
 *
 * The calls of a module block, a network HSM's for minutes, and a thread that is stuck in one keeps even `exit` waiting. So a
 * call that is not done at its deadline ends with its process, and the next one starts another. Nor is a maker's library
 * loaded where the keys of disks are. A module is initialized once in a process and its logins are the process's, so
 * all providers of one module share one.
 *
 * A data key comes from there sealed for us (X25519): its plaintext is in locked memory on both sides, and nowhere between.
 */

import { type ChildProcess, fork } from 'node:child_process';
import { createRequire } from 'node:module';
import sodium from 'sodium-native';
import { fail, SealdiskError } from '../../../errors.js';
import type { Deadline } from '../../local/deadline.js';
import { allocSecret, freeSecret } from '../../local/secret.js';
import type { SecretBytes } from '../../provider.js';
import type { Answer, Done, Question, Work } from './work.js';

/** For a module to end what it has begun. */
const END_MS = 1000;

const processes = new Map<string, ModuleProcess>();

export class ModuleProcess {
  #users = 0;
  #child: ChildProcess | undefined;
  /** Takes the answer that is awaited. */
  #settle: ((answer: Answer | 'late' | 'ended') => void) | undefined;
  /** By token and file: the PIN that is not tried again. It outlives the child, and whoever tried it. */
  readonly #refusedPins = new Map<string, string>();
  /** Opens what the child seals. */
  readonly #publicKey = Buffer.alloc(sodium.crypto_box_PUBLICKEYBYTES);
  readonly #secretKey = allocSecret(sodium.crypto_box_SECRETKEYBYTES);
  /** Settled when all that was asked is answered. */
  #idle: Promise<unknown> = Promise.resolve();

  private constructor(private readonly modulePath: string) {
    sodium.crypto_box_keypair(this.#publicKey, this.#secretKey);
  }

  /** The process of this module, for one user more, who leaves it. It starts with the first question. */
  static join(modulePath: string): ModuleProcess {
    const one = processes.get(modulePath) ?? new ModuleProcess(modulePath);
    processes.set(modulePath, one);
    one.#users += 1;
    return one;
  }

  /** Fails as the provider contract says. */
  async ask(question: Question, deadline: Deadline): Promise<Done> {
    const mine = this.#idle.then(() => {
      deadline.check();
      return this.#exchange(question, deadline);
    });
    this.#idle = mine.catch(() => {});
    return deadline.bound(
      () => mine,
      () => {},
    );
  }

  /** The plaintext that came with an answer. Whoever receives it frees it. */
  open({ boxed }: Done): SecretBytes {
    const bytes = Buffer.from(boxed ?? []);
    const plaintext = allocSecret(Math.max(1, bytes.length - sodium.crypto_box_SEALBYTES));
    if (sodium.crypto_box_seal_open(plaintext, bytes, this.#publicKey, this.#secretKey)) return plaintext;
    freeSecret(plaintext);
    return fail('INTERNAL', { what: 'what the process of a PKCS#11 module sealed does not open' });
  }

  /** The last one to leave ends the process. */
  async leave(): Promise<void> {
    this.#users -= 1;
    if (this.#users > 0) return;
    // Whoever asked has gone.
    if (this.#settle) this.#child?.kill('SIGKILL');
    this.#idle = this.#idle.then(() => (this.#users > 0 ? undefined : this.#end()));
    await this.#idle;
  }

  async #end(): Promise<void> {
    const child = this.#child;
    if (!child) return;
    await this.#send(child, { verb: 'end' }, END_MS);
    child.kill('SIGKILL');
  }

  async #exchange(question: Question, deadline: Deadline): Promise<Done> {
    const { keyUri } = deadline;
    const login = JSON.stringify([question.key.token, question.key.pinFile]);
    const work = { ...question, keyUri, refusedPin: this.#refusedPins.get(login) };
    const kept = this.#child;
    let answer = await this.#send(kept ?? this.#start(), work, deadline.remainingMs);
    // It may have ended long ago, which only its next use shows.
    if (answer === 'ended' && kept && this.#users > 0) {
      answer = await this.#send(this.#start(), work, deadline.remainingMs);
    }
    if (answer === 'late') {
      this.#child?.kill('SIGKILL');
      this.#child = undefined;
      return fail('KMS_TIMEOUT', { keyUri, timeoutMs: deadline.timeoutMs });
    }
    if (answer === 'ended') {
      return fail('KMS_SERVER_ERROR', { keyUri, why: `the process with ${this.modulePath} ended` });
    }
    if ('done' in answer) return answer.done;
    if (answer.refusedPin !== undefined) this.#refusedPins.set(login, answer.refusedPin);
    throw SealdiskError.fromJSON(answer.failure);
  }

  #start(): ChildProcess {
    const main = createRequire(import.meta.url).resolve('#sealdisk/bin/pkcs11-main.cjs');
    const child = fork(main, [this.modulePath, this.#publicKey.toString('hex')], {
      serialization: 'advanced',
      // The last one hides the lock that an attachment's server was given as 4: it must not outlive the server.
      stdio: ['ignore', 'ignore', 'ignore', 'ipc', 'ignore'],
      execArgv: [],
    });
    child.on('error', () => {}); // the deadline follows where 'exit' does not
    child.on('message', (answer) => this.#settle?.(answer as Answer));
    child.on('exit', () => {
      if (this.#child !== child) return;
      this.#child = undefined;
      this.#settle?.('ended');
    });
    this.#child = child;
    unref(child);
    return child;
  }

  /** The answer, or why there is none. We stay for it. */
  async #send(child: ChildProcess, work: Work, timeoutMs: number): Promise<Answer | 'late' | 'ended'> {
    child.ref();
    child.channel?.ref();
    let timer: NodeJS.Timeout | undefined;
    const answered = new Promise<Answer | 'late' | 'ended'>((resolve) => {
      timer = setTimeout(() => resolve('late'), timeoutMs);
      this.#settle = resolve;
      child.send(work, (error) => error && resolve('ended'));
    });
    try {
      return await answered;
    } finally {
      clearTimeout(timer);
      this.#settle = undefined;
      unref(child);
    }
  }
}

function unref(child: ChildProcess): void {
  child.unref();
  child.channel?.unref();
}
