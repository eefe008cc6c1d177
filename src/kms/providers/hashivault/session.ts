/**
 * Talking to Vault as somebody: a token that is read or logged in for, renewed in time, and had anew when it has ended.
 *
 * Kept true: a 403 counts as somebody's decision only in Vault's own words, and only after a token that another login or a
 * changed file gives was refused, too. A token that is known to have run out is no decision. Tokens are sent to the one
 * server that was named, as a header, and stand in no failure.
 */

import { fail, SealdiskError } from '../../../errors.js';
import type { HttpClient, HttpReply } from '../../http.js';
import type { Deadline } from '../../local/deadline.js';
import { statusFailure } from '../../transport.js';
import type { VaultCredentials } from './credentials.js';

export interface VaultRequest {
  readonly method: 'GET' | 'POST';
  /** Below `/v1/`. */
  readonly path: string;
  /** Makes the body, once for each time it is sent. */
  readonly body?: () => Buffer;
}

interface Token {
  readonly text: string;
  /** Monotonic; Infinity where nothing is known of an end. */
  readonly endsMs: number;
  readonly renewAtMs: number;
}

const NOT_AUTHENTIC = /message authentication failed/;

const jsonBody = (fields: object) => (): Buffer => Buffer.from(JSON.stringify(fields));

export class VaultSession {
  #token: Token | undefined;
  /** One login or renewal at a time; the others wait for it. */
  #entering: Promise<Token> | undefined;

  constructor(
    private readonly http: HttpClient,
    private readonly credentials: VaultCredentials,
    private readonly namespace: string,
    private readonly keyUri: string,
  ) {}

  /** The reply, whatever its status but 403. Fails as the contract says. */
  async ask(request: VaultRequest, deadline: Deadline): Promise<HttpReply> {
    const token = await this.#current(deadline);
    const reply = await this.#send(request, deadline, token.text);
    if (!this.#denied(reply)) return reply;
    const other = await this.#another(token, deadline);
    const again = await this.#send(request, deadline, other.text);
    if (this.#denied(again)) this.#refuse('permission denied');
    return again;
  }

  /** The token to use now: the one at hand, renewed when half its time is over, or a new one. */
  async #current(deadline: Deadline): Promise<Token> {
    const now = performance.now();
    if (this.#token !== undefined && now < Math.min(this.#token.renewAtMs, this.#token.endsMs)) {
      return this.#token;
    }
    this.#entering ??= this.#enter(this.#token, deadline).finally(() => {
      this.#entering = undefined;
    });
    const entering = this.#entering;
    return deadline.bound(
      () => entering,
      () => {},
    );
  }

  async #enter(old: Token | undefined, deadline: Deadline): Promise<Token> {
    const renewed = old !== undefined && performance.now() < old.endsMs && (await this.#renew(old, deadline));
    this.#token = renewed || (await this.#fresh(old, deadline));
    return this.#token;
  }

  /** A token in place of one that Vault refused. Fails when there is no other. */
  async #another(refused: Token, deadline: Deadline): Promise<Token> {
    if (this.#token?.text === refused.text) this.#token = undefined;
    const other = await this.#current(deadline);
    if (other.text === refused.text) this.#refuse('permission denied');
    return other;
  }

  async #fresh(old: Token | undefined, deadline: Deadline): Promise<Token> {
    if (this.credentials.kind === 'login') return this.#login(this.credentials, deadline);
    const text = await this.credentials.read();
    if (text !== old?.text) return this.#lookUp(text, deadline);
    if (performance.now() >= old.endsMs) {
      fail('KMS_CREDENTIALS', {
        keyUri: this.keyUri,
        why: `the token of ${this.credentials.where} has ended`,
      });
    }
    return { ...old, renewAtMs: old.endsMs };
  }

  async #login(login: Extract<VaultCredentials, { kind: 'login' }>, deadline: Deadline): Promise<Token> {
    const body = jsonBody(await login.fields());
    const reply = await this.#send({ method: 'POST', path: login.path, body }, deadline);
    const token = reply.status === 200 ? tokenOf(reply) : undefined;
    if (token !== undefined) return token;
    if (vaultErrors(reply) !== undefined) this.#refuse(`the ${login.where} login is refused`);
    return this.#badReply(reply);
  }

  /** What Vault knows of a token that we were given. It may not say, and the token may be good. */
  async #lookUp(text: string, deadline: Deadline): Promise<Token> {
    const reply = await this.#send({ method: 'GET', path: 'auth/token/lookup-self' }, deadline, text);
    const data = reply.status === 200 ? jsonOf(reply)?.data : undefined;
    const { ttl, renewable } = (data ?? {}) as Record<string, unknown>;
    return lasting(text, ttl, renewable);
  }

  async #renew(token: Token, deadline: Deadline): Promise<Token | undefined> {
    const request = { method: 'POST', path: 'auth/token/renew-self', body: jsonBody({}) } as const;
    const reply = await this.#send(request, deadline, token.text);
    return reply.status === 200 ? tokenOf(reply) : undefined;
  }

  async #send({ method, path, body }: VaultRequest, deadline: Deadline, token?: string): Promise<HttpReply> {
    const headers = {
      'x-vault-request': 'true',
      ...(token !== undefined && { 'x-vault-token': token }),
      ...(this.namespace !== '' && { 'x-vault-namespace': this.namespace }),
      ...(body && { 'content-type': 'application/json' }),
    };
    const request = { method, path: `/v1/${path}`, headers, ...(body && { body: body() }) };
    const reply = await this.http.send(request, deadline);
    // Some versions of Vault answer a ciphertext that is not theirs so.
    const notTheirs = reply.status === 500 && vaultErrors(reply)?.some((text) => NOT_AUTHENTIC.test(text));
    const failure = notTheirs ? undefined : statusFailure(reply.status, this.keyUri);
    if (failure) throw failure;
    return reply;
  }

  /** True for a 403 in Vault's words. Fails with KMS_BAD_REPLY for one that is not. */
  #denied(reply: HttpReply): boolean {
    return reply.status === 403 && (vaultErrors(reply) !== undefined || this.#badReply(reply));
  }

  #refuse(why: string): never {
    fail('KMS_ACCESS_DENIED', { keyUri: this.keyUri, why });
  }

  #badReply(reply: HttpReply): never {
    throw new SealdiskError('KMS_BAD_REPLY', {
      keyUri: this.keyUri,
      why: `HTTP ${reply.status} is not in Vault's words`,
    });
  }
}

/** The errors of a reply that failed; undefined when Vault did not word it. */
export function vaultErrors(reply: HttpReply): string[] | undefined {
  const errors = jsonOf(reply)?.errors;
  const worded = Array.isArray(errors) && errors.every((each) => typeof each === 'string');
  return worded ? (errors as string[]) : undefined;
}

/** The object that a reply holds. */
export function jsonOf(reply: HttpReply): Record<string, unknown> | undefined {
  try {
    const json: unknown = JSON.parse(reply.body.toString('utf8'));
    return typeof json === 'object' && json !== null ? (json as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** The token that a login or a renewal gives. */
function tokenOf(reply: HttpReply): Token | undefined {
  const { client_token, lease_duration, renewable } = (jsonOf(reply)?.auth ?? {}) as Record<string, unknown>;
  if (typeof client_token !== 'string' || !/^[\x21-\x7e]+$/.test(client_token)) return undefined;
  return lasting(client_token, lease_duration, renewable);
}

/** `ttl` in seconds; 0 or nothing: no end that is known. */
function lasting(text: string, ttl: unknown, renewable: unknown): Token {
  const ttlMs = typeof ttl === 'number' && ttl > 0 ? ttl * 1000 : Number.POSITIVE_INFINITY;
  const now = performance.now();
  const endsMs = now + ttlMs;
  return { text, endsMs, renewAtMs: renewable === true ? now + ttlMs / 2 : endsMs };
}
