/**
 * Vault's transit engine and its logins, as far as sealdisk asks of them; with real AES-GCM. No Vault can be had where the
 * tests run, so what it answers is written down here from its documentation and OpenBao's sources (see docs/providers.md,
 * hashivault). Where another KMS will do, it is not to be used.
 */

import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import type { Test } from 'tap';
import type { Manner } from './faulty-server.js';

type Fields = Readonly<Record<string, unknown>>;
interface Answer {
  readonly status: number;
  readonly body: object;
}

const ok = (body: object): Answer => ({ status: 200, body });
const refuse = (status: number, ...errors: string[]): Answer => ({ status, body: { errors } });
const bytes = (base64: unknown): Buffer => Buffer.from(String(base64 ?? ''), 'base64');

export interface FakeKey {
  type: string;
  derived: boolean;
  softDeleted: boolean;
  minDecryptionVersion: number;
  readonly versions: Buffer[];
}

interface FakeToken {
  ttlS: number;
  renewable: boolean;
  mayUse: boolean;
}

export class FakeVault {
  readonly keys = new Map<string, FakeKey>();
  readonly tokens = new Map<string, FakeToken>();
  /** Method and path of each request, in order. */
  readonly asked: string[] = [];
  /** Namespace that its mounts are in. */
  namespace = '';
  sealed = false;
  /** Answers in its place. */
  manner: Manner | undefined;
  /** Requests wait for it. */
  stalled: Promise<void> | undefined;
  /** What it was given to encrypt last. */
  lastPlaintext: Buffer = Buffer.alloc(0);
  readonly secretIds = new Set<string>();
  readonly jwts = new Set<string>();
  readonly #server = createServer(async (request, response) => {
    if (this.manner) return this.manner(request, response);
    const fields = request.method === 'POST' ? ((await json(request)) as Fields) : {};
    await this.stalled;
    const { status, body } = this.#answer(request, fields);
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(`${JSON.stringify(body)}\n`);
  });

  static async start(t: Test): Promise<FakeVault> {
    const vault = new FakeVault();
    const server = vault.#server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.teardown(() => {
      server.closeAllConnections();
      server.close();
    });
    return vault;
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  addKey(name: string): FakeKey {
    const key = {
      type: 'aes256-gcm96',
      derived: false,
      softDeleted: false,
      minDecryptionVersion: 1,
      versions: [randomBytes(32)],
    };
    this.keys.set(name, key);
    return key;
  }

  addToken(ttlS = 0, renewable = false): string {
    const text = `hvs.${randomBytes(12).toString('hex')}`;
    this.tokens.set(text, { ttlS, renewable, mayUse: true });
    return text;
  }

  #answer(request: IncomingMessage, fields: Fields): Answer {
    const path = (request.url ?? '').replace(/^\/v1\//, '');
    this.asked.push(`${request.method} ${path}`);
    if (this.sealed) return refuse(503, 'Vault is sealed');
    if ((request.headers['x-vault-namespace'] ?? '') !== this.namespace) {
      return refuse(404, `no handler for route "${path}". route entry not found.`);
    }
    if (path === 'auth/approle/login') return this.#login(this.secretIds.has(String(fields.secret_id)));
    if (path === 'auth/kubernetes/login') return this.#login(this.jwts.has(String(fields.jwt)));
    const text = String(request.headers['x-vault-token']);
    const token = this.tokens.get(text);
    if (token === undefined) {
      return refuse(403, '2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n');
    }
    if (path === 'auth/token/lookup-self')
      return ok({ data: { ttl: token.ttlS, renewable: token.renewable } });
    if (path === 'auth/token/renew-self') return ok({ auth: authOf(text, token) });
    if (!token.mayUse) return refuse(403, '1 error occurred:\n\t* permission denied\n\n');
    return this.#transit(path, fields);
  }

  #login(known: boolean): Answer {
    if (!known) return refuse(400, 'invalid role or secret ID');
    const text = this.addToken(3600, true);
    return ok({ auth: authOf(text, this.tokens.get(text) as FakeToken) });
  }

  #transit(path: string, fields: Fields): Answer {
    const [mount, verb, name = ''] = path.split('/');
    if (mount !== 'transit') return refuse(404, `no handler for route "${path}". route entry not found.`);
    const key = this.keys.get(name);
    if (verb === 'keys') return key ? ok({ data: described(name, key) }) : refuse(404);
    if (verb === 'encrypt') {
      // As where the policy allows to create: a key that is not there is made.
      this.lastPlaintext = bytes(fields.plaintext);
      return encrypt(key ?? this.addKey(name), fields);
    }
    return key ? decrypt(key, fields) : refuse(400, 'encryption key not found');
  }
}

const authOf = (text: string, { ttlS, renewable }: FakeToken) => ({
  client_token: text,
  lease_duration: ttlS,
  renewable,
});

const described = (name: string, key: FakeKey) => ({
  name,
  type: key.type,
  derived: key.derived,
  latest_version: key.versions.length,
  min_decryption_version: key.minDecryptionVersion,
  min_encryption_version: 0,
  soft_deleted: key.softDeleted,
  supports_encryption: true,
});

/** Nobody outside knows how this is worded. */
const SOFT_DELETED = refuse(400, 'the key is not to be used now');

function encrypt(key: FakeKey, fields: Fields): Answer {
  if (key.softDeleted) return SOFT_DELETED;
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', key.versions.at(-1) as Buffer, nonce);
  cipher.setAAD(bytes(fields.associated_data));
  const sealed = [nonce, cipher.update(bytes(fields.plaintext)), cipher.final(), cipher.getAuthTag()];
  const version = key.versions.length;
  const ciphertext = `vault:v${version}:${Buffer.concat(sealed).toString('base64')}`;
  return ok({ data: { ciphertext, key_version: version } });
}

function decrypt(key: FakeKey, fields: Fields): Answer {
  if (key.softDeleted) return SOFT_DELETED;
  if (!fields.ciphertext) return refuse(400, 'missing ciphertext to decrypt');
  const [, digits, base64] = /^vault:v(\d+):(.*)$/.exec(String(fields.ciphertext)) ?? [];
  if (digits === undefined) return refuse(400, 'invalid ciphertext: no prefix');
  const version = Math.max(1, Number(digits));
  if (version > key.versions.length) return refuse(400, 'invalid ciphertext: version is too new');
  if (version < key.minDecryptionVersion) {
    return refuse(400, 'ciphertext or signature version is disallowed by policy (too old)');
  }
  const sealed = bytes(base64);
  if (sealed.length < 28) return refuse(400, 'invalid ciphertext length');
  const decipher = createDecipheriv(
    'aes-256-gcm',
    key.versions[version - 1] as Buffer,
    sealed.subarray(0, 12),
  );
  decipher.setAAD(bytes(fields.associated_data));
  decipher.setAuthTag(sealed.subarray(-16));
  try {
    const plaintext = Buffer.concat([decipher.update(sealed.subarray(12, -16)), decipher.final()]);
    return ok({ data: { plaintext: plaintext.toString('base64') } });
  } catch {
    return refuse(400, 'cipher: message authentication failed');
  }
}
