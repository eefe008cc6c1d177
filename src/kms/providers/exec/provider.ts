/**
 * A key behind a program: its contract in terms of lines of JSON. See docs/providers.md, which specifies them, and
 * src/kms/providers/exec.ts.
 *
 * Kept true: what the program answers is believed only in the shape and size that the specification gives; an error is a
 * name of the closed set or no answer at all. No plaintext key is ever a JavaScript string.
 */

import { randomFillSync } from 'node:crypto';
import { type Code, fail, SealdiskError } from '../../../errors.js';
import { Deadline } from '../../local/deadline.js';
import { allocSecret, freeSecret } from '../../local/secret.js';
import type {
  CallOptions,
  CanRewrap,
  CanWrap,
  EncryptionContext,
  GeneratedKey,
  KeyDescription,
  KeyProvider,
  KeyState,
  ProviderEnvironment,
  SecretBytes,
  WrappedKey,
} from '../../provider.js';
import { jsonWithSecret, takeSecret } from '../../secret-json.js';
import type { ExecUri } from '../exec.js';
import { programEnvironment, runProgram } from './run.js';

const PROTOCOL = 1;
const PLAINTEXT_MAX_BYTES = 4096;
const CIPHERTEXT_MAX_BYTES = 4096;
const TEXT_MAX_BYTES = 512;
/** What a program answers to an operation that it does not have. */
const UNSUPPORTED = 'UNSUPPORTED_OPERATION';
const STATES: readonly KeyState[] = ['enabled', 'disabled', 'pendingDeletion', 'pendingImport'];
const ERRORS = [
  'KMS_KEY_DISABLED',
  'KMS_KEY_PENDING_DELETION',
  'KMS_KEY_PENDING_IMPORT',
  'KMS_KEY_NOT_FOUND',
  'KMS_ACCESS_DENIED',
  'KMS_TIMEOUT',
  'KMS_CONNECTION',
  'KMS_SERVER_ERROR',
  'KMS_THROTTLED',
  'KMS_BAD_REPLY',
  'KMS_CREDENTIALS',
  'KMS_INVALID_CIPHERTEXT',
  'KMS_WRONG_CONTEXT',
  'KMS_UNSUPPORTED_KEY',
] as const satisfies readonly Code[];

type Operation = 'describe' | 'wrap' | 'generate-data-key' | 'unwrap' | 'rewrap';
type Fields = Readonly<Record<string, unknown>>;
/** The plaintext has been taken out of `json`. */
interface Answer {
  readonly json: Fields;
  readonly plaintext: SecretBytes | undefined;
}

export const openExec = (uri: ExecUri, { env }: ProviderEnvironment): KeyProvider & CanRewrap & CanWrap =>
  new ExecProvider(uri, programEnvironment(env));

class ExecProvider implements KeyProvider, CanRewrap, CanWrap {
  readonly keyUri: string;

  constructor(
    private readonly uri: ExecUri,
    private readonly env: NodeJS.ProcessEnv,
  ) {
    this.keyUri = uri.canonical;
  }

  async generateDataKey(
    sizeBytes: number,
    context: EncryptionContext,
    options: CallOptions,
  ): Promise<GeneratedKey> {
    const deadline = new Deadline(options.timeoutMs, this.keyUri);
    const plaintext = allocSecret(sizeBytes);
    randomFillSync(plaintext);
    try {
      const wrapped = await this.#wrap(plaintext, context, deadline);
      if (wrapped !== undefined) return { plaintext, wrapped };
    } catch (error) {
      freeSecret(plaintext);
      throw error;
    }
    freeSecret(plaintext);
    return this.#generated(sizeBytes, context, deadline);
  }

  async unwrap(wrapped: WrappedKey, context: EncryptionContext, options: CallOptions): Promise<SecretBytes> {
    return this.#unwrap(wrapped, context, new Deadline(options.timeoutMs, this.keyUri));
  }

  async wrap(plaintext: SecretBytes, context: EncryptionContext, options: CallOptions): Promise<WrappedKey> {
    const deadline = new Deadline(options.timeoutMs, this.keyUri);
    return (await this.#wrap(plaintext, context, deadline)) ?? this.#bad('its program has no wrap');
  }

  async rewrap(wrapped: WrappedKey, context: EncryptionContext, options: CallOptions): Promise<WrappedKey> {
    const deadline = new Deadline(options.timeoutMs, this.keyUri);
    const answer = await this.#ask(
      'rewrap',
      { ...wrappedFields(wrapped), context: sorted(context) },
      deadline,
    );
    if (answer !== undefined) return this.#wrappedOf(answer);
    const plaintext = await this.#unwrap(wrapped, context, deadline);
    try {
      const anew = await this.#wrap(plaintext, context, deadline);
      return anew ?? this.#bad('its program has neither rewrap nor wrap');
    } finally {
      freeSecret(plaintext);
    }
  }

  async describeKey(keyId: string | undefined, options: CallOptions): Promise<KeyDescription> {
    const deadline = new Deadline(options.timeoutMs, this.keyUri);
    const fields = keyId === undefined ? {} : { keyId };
    const answer = await this.#ask('describe', fields, deadline);
    const state = STATES.find((each) => each === answer?.json.state);
    const described = this.#text(answer?.json.keyId, 'keyId');
    if (state === undefined) return this.#bad('it tells no state of the key');
    if (keyId !== undefined && described !== keyId) fail('KMS_KEY_NOT_FOUND', { keyUri: this.keyUri });
    return { keyId: described, state, serviceKey: false };
  }

  async close(): Promise<void> {}

  /** Undefined when the program cannot wrap what we bring. */
  async #wrap(
    plaintext: SecretBytes,
    context: EncryptionContext,
    deadline: Deadline,
  ): Promise<WrappedKey | undefined> {
    const answer = await this.#ask('wrap', { context: sorted(context) }, deadline, plaintext);
    return answer && this.#wrappedOf(answer);
  }

  async #generated(sizeBytes: number, context: EncryptionContext, deadline: Deadline): Promise<GeneratedKey> {
    const fields = { sizeBytes, context: sorted(context) };
    const answer = await this.#ask('generate-data-key', fields, deadline);
    const plaintext = answer?.plaintext;
    try {
      if (answer === undefined) return this.#bad('its program has neither wrap nor generate-data-key');
      if (plaintext?.length !== sizeBytes) return this.#bad(`it gives no key of ${sizeBytes} bytes`);
      return { plaintext, wrapped: this.#wrappedOf(answer) };
    } catch (error) {
      freeSecret(plaintext);
      throw error;
    }
  }

  async #unwrap(wrapped: WrappedKey, context: EncryptionContext, deadline: Deadline): Promise<SecretBytes> {
    const fields = { ...wrappedFields(wrapped), context: sorted(context) };
    const answer = await this.#ask('unwrap', fields, deadline);
    return answer?.plaintext ?? this.#bad('it gives no key');
  }

  /** The program's answer; undefined when it does not have the operation. */
  async #ask(
    operation: Operation,
    fields: Fields,
    deadline: Deadline,
    secret?: SecretBytes,
  ): Promise<Answer | undefined> {
    const { key } = this.uri;
    const timeoutMs = Math.ceil(deadline.remainingMs);
    const asked = { version: PROTOCOL, operation, key, timeoutMs, ...fields };
    const request =
      secret === undefined
        ? Buffer.from(`${JSON.stringify(asked)}\n`)
        : jsonWithSecret(asked, 'plaintext', secret, '\n');
    const line = await runProgram(this.uri.program, this.env, request, deadline);
    const plaintext = takeSecret(line, 'plaintext', PLAINTEXT_MAX_BYTES);
    try {
      const json = jsonOf(line) ?? this.#bad('it did not print an object of JSON');
      if (json.error === UNSUPPORTED) return undefined;
      if (json.error !== undefined) throw this.#failureOf(json.error, deadline);
      return { json, plaintext };
    } catch (error) {
      freeSecret(plaintext);
      throw error;
    } finally {
      line.fill(0);
    }
  }

  #wrappedOf({ json }: Answer): WrappedKey {
    const { ciphertext: base64, keyVersion = '1' } = json;
    const ciphertext = typeof base64 === 'string' ? Buffer.from(base64, 'base64') : Buffer.alloc(0);
    const whole = ciphertext.toString('base64') === base64;
    if (!whole || ciphertext.length === 0 || ciphertext.length > CIPHERTEXT_MAX_BYTES) {
      return this.#bad(`its ciphertext is not base64 of 1 to ${CIPHERTEXT_MAX_BYTES} bytes`);
    }
    return {
      keyId: this.#text(json.keyId, 'keyId'),
      keyVersion: this.#text(keyVersion, 'keyVersion'),
      ciphertext,
    };
  }

  #failureOf(name: unknown, deadline: Deadline): SealdiskError {
    const code = ERRORS.find((each) => each === name) ?? this.#bad('its error is not one of the closed set');
    const facts = {
      keyUri: this.keyUri,
      why: 'so its program says',
      timeoutMs: deadline.timeoutMs,
      found: 'of another kind',
      expected: 'a symmetric key',
    };
    return new SealdiskError(code, facts);
  }

  #text(found: unknown, what: string): string {
    const fits = typeof found === 'string' && found !== '' && Buffer.byteLength(found) <= TEXT_MAX_BYTES;
    return fits && !/\p{Cc}|\p{Cs}/u.test(found) ? found : this.#bad(`its ${what} is no text`);
  }

  #bad(why: string): never {
    return fail('KMS_BAD_REPLY', { keyUri: this.keyUri, why });
  }
}

/** Its names in order, so that a program may take the text of it as associated data. */
const sorted = (context: EncryptionContext): EncryptionContext =>
  Object.fromEntries(Object.entries(context).sort(([a], [b]) => (a < b ? -1 : 1)));

const wrappedFields = ({ keyId, keyVersion, ciphertext }: WrappedKey): Fields => ({
  keyId,
  keyVersion,
  ciphertext: Buffer.from(ciphertext).toString('base64'),
});

function jsonOf(line: Buffer): Fields | undefined {
  try {
    const json: unknown = JSON.parse(line.toString('utf8'));
    return typeof json === 'object' && json !== null && !Array.isArray(json) ? (json as Fields) : undefined;
  } catch {
    return undefined;
  }
}
