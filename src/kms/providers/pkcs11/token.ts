/**
 * A PKCS#11 module, its tokens and the keys on them: what its process does with the addon. Every call here may block for
 * as long as the module likes.
 *
 * Kept true: a key counts as gone only when its token was there, logged in, and did not show it. What may come of a session
 * or a token that went is asked once more of a module that was started anew; the second answer stands.
 */

import { randomFillSync } from 'node:crypto';
import type * as Pkcs11 from 'pkcs11js';
import { fail, unreachable } from '../../../errors.js';
import { NONCE_BYTES, TAG_BYTES } from '../sealed-key.js';
import { ckrOf, failureOf, isBadData, isPinRefusal, mayPass } from './failures.js';
import { type Pin, readPin } from './pin.js';
import type { Done, KeyNames, KeyWork, SealedParts } from './work.js';

/** Keys of one name beyond which nobody looks. */
const FOUND_MAX = 32;
/** CKS_RO_USER_FUNCTIONS and CKS_RW_USER_FUNCTIONS. */
const LOGGED_IN = [1, 3];

interface Session {
  readonly handle: Pkcs11.Handle;
  readonly slot: Pkcs11.Handle;
  readonly loginRequired: boolean;
}

interface Key {
  readonly session: Pkcs11.Handle;
  readonly handle: Pkcs11.Handle;
  readonly keyId: string;
  readonly mayDecrypt: boolean;
  readonly mayEncrypt: boolean;
}

/** What was done, with the plaintext still in the room. */
interface Worked extends Omit<Done, 'boxed'> {
  readonly plainBytes: number;
}

export class TokenModule {
  /** Loaded once: few modules bear being unloaded. */
  #loaded: Pkcs11.PKCS11 | undefined;
  #initialized = false;
  /** By the names of the token and the file of its PIN. */
  readonly #sessions = new Map<string, Session>();
  /** Of the key that is worked for, for failures. */
  #keyUri = '';
  /** Identity of the PIN that its token has refused. */
  refusedPin: string | undefined;

  constructor(
    private readonly pkcs11: typeof Pkcs11,
    private readonly path: string,
    private readonly room: Buffer,
  ) {}

  /** Fails as the contract says. After `make` and `unwrap` the room holds plaintext, which the caller wipes. */
  do(work: KeyWork): Worked {
    this.#keyUri = work.keyUri;
    this.refusedPin = work.refusedPin;
    try {
      return this.#twice(() => this.#once(work));
    } catch (error) {
      throw failureOf(error, work.keyUri);
    }
  }

  /** Forgets all sessions and ends what the module holds. */
  end(): void {
    this.#sessions.clear();
    if (!this.#initialized) return;
    this.#initialized = false;
    try {
      this.#loaded?.C_Finalize();
    } catch (error) {
      if (ckrOf(error) === undefined) throw error;
    }
  }

  #once(work: KeyWork): Worked {
    const key = this.#find(work.key);
    switch (work.verb) {
      case 'describe':
        return done(key, {});
      case 'make': {
        const plaintext = this.room.subarray(0, work.sizeBytes);
        randomFillSync(plaintext);
        return done(key, {
          ...this.#seal(this.#usable(key), plaintext, work.aad),
          plainBytes: work.sizeBytes,
        });
      }
      case 'unwrap':
        return done(key, { plainBytes: this.#open(this.#usable(key), work.parts) });
      case 'rewrap': {
        const to = this.#usable(this.#find(work.to));
        const plainBytes = this.#open(this.#usable(key), work.parts);
        return done(to, this.#seal(to, this.room.subarray(0, plainBytes), work.parts.aad));
      }
      default:
        return unreachable(work);
    }
  }

  /** A module that was started anew may give another answer; a second one stands. */
  #twice<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (!mayPass(error)) throw error;
    }
    this.end();
    return work();
  }

  // --- keys

  #usable(key: Key): Key {
    if (!key.mayDecrypt) fail('KMS_KEY_DISABLED', { keyUri: this.#keyUri });
    return key;
  }

  #seal(key: Key, plaintext: Buffer, aad: Uint8Array): Pick<Done, 'nonce' | 'sealed'> {
    if (!key.mayEncrypt) this.#deny('it may only decrypt (CKA_ENCRYPT is false)');
    return this.#encrypt(key, plaintext, aad);
  }

  #encrypt(key: Key, plaintext: Buffer, aad: Uint8Array): { nonce: Buffer; sealed: Buffer } {
    const nonce = randomFillSync(Buffer.alloc(NONCE_BYTES));
    // Room for a token that wants more than it fills. One that makes its own nonce writes it over ours.
    const room = Buffer.alloc(plaintext.length + 2 * TAG_BYTES);
    this.#cryptoki().C_EncryptInit(key.session, this.#gcm(nonce, aad), key.handle);
    const sealed = this.#cryptoki().C_Encrypt(key.session, plaintext, room);
    if (sealed.length !== plaintext.length + TAG_BYTES)
      throw new Error('the token gave a ciphertext of a wrong length');
    return { nonce, sealed };
  }

  /** Opens `parts` into the room. Its length. */
  #open(key: Key, parts: SealedParts): number {
    const cryptoki = this.#cryptoki();
    cryptoki.C_DecryptInit(key.session, this.#gcm(Buffer.from(parts.nonce), parts.aad), key.handle);
    try {
      return cryptoki.C_Decrypt(key.session, Buffer.from(parts.sealed), this.room).length;
    } catch (error) {
      // CKR_GENERAL_ERROR may mean a wrong tag or a dead device. A key that opens what it has just sealed is well.
      if (isBadData(error) || this.#works(key))
        return fail('KMS_INVALID_CIPHERTEXT', { keyUri: this.#keyUri }, error);
      throw error;
    }
  }

  #works(key: Key): boolean {
    try {
      const aad = Buffer.from('sealdisk probe');
      const { nonce, sealed } = this.#encrypt(key, Buffer.alloc(16), aad);
      this.#cryptoki().C_DecryptInit(key.session, this.#gcm(nonce, aad), key.handle);
      return this.#cryptoki().C_Decrypt(key.session, sealed, Buffer.alloc(64)).length === 16;
    } catch {
      return false;
    }
  }

  #gcm(iv: Buffer, aad: Uint8Array): Pkcs11.Mechanism {
    const type = this.pkcs11.CK_PARAMS_AES_GCM_v240;
    const bits = { ivBits: 8 * NONCE_BYTES, tagBits: 8 * TAG_BYTES };
    const parameter = { type, iv, aad: Buffer.from(aad), ...bits } as Pkcs11.AesGCM;
    return { mechanism: this.pkcs11.CKM_AES_GCM, parameter };
  }

  /** The one AES key of these names. */
  #find(names: KeyNames): Key {
    const keyUri = this.#keyUri;
    const session = this.#session(names);
    const objects = this.#objects(session.handle, names);
    const secret = objects.filter(({ isSecretKey }) => isSecretKey);
    const keys = secret.map(({ handle }) => this.#read(session, handle)).filter(({ isAes }) => isAes);
    const [key] = keys;
    if (!key) {
      this.#expectToken(session, names);
      if (objects.length === 0) fail('KMS_KEY_NOT_FOUND', { keyUri });
      const found = secret.length > 0 ? 'a secret key that is not AES' : 'no secret key';
      return fail('KMS_UNSUPPORTED_KEY', { keyUri, found, expected: 'an AES key' });
    }
    if (keys.length > 1) {
      fail('KMS_SERVER_ERROR', { keyUri, why: `${keys.length} AES keys have this name; name one by id=%..` });
    }
    if (key.keyId === '') {
      fail('KMS_UNSUPPORTED_KEY', { keyUri, found: 'without CKA_ID', expected: 'one that has an id' });
    }
    return key;
  }

  #objects(
    session: Pkcs11.Handle,
    { object, id }: KeyNames,
  ): { handle: Pkcs11.Handle; isSecretKey: boolean }[] {
    const cryptoki = this.#cryptoki();
    const { CKA_LABEL, CKA_ID, CKA_CLASS, CKO_SECRET_KEY } = this.pkcs11;
    cryptoki.C_FindObjectsInit(session, [
      ...(object === undefined ? [] : [{ type: CKA_LABEL, value: object }]),
      ...(id === undefined ? [] : [{ type: CKA_ID, value: Buffer.from(id, 'hex') }]),
    ]);
    const handles = cryptoki.C_FindObjects(session, FOUND_MAX);
    cryptoki.C_FindObjectsFinal(session);
    return handles.map((handle) => {
      const [objectClass] = cryptoki.C_GetAttributeValue(session, handle, [{ type: CKA_CLASS }]);
      return { handle, isSecretKey: ulong(objectClass) === CKO_SECRET_KEY };
    });
  }

  #read({ handle: session }: Session, handle: Pkcs11.Handle): Key & { isAes: boolean } {
    const { CKA_ID, CKA_KEY_TYPE, CKA_DECRYPT, CKA_ENCRYPT, CKK_AES } = this.pkcs11;
    const wanted = [CKA_ID, CKA_KEY_TYPE, CKA_DECRYPT, CKA_ENCRYPT].map((type) => ({ type }));
    const [id, keyType, decrypt, encrypt] = this.#cryptoki().C_GetAttributeValue(session, handle, wanted);
    return {
      session,
      handle,
      keyId: id?.value.toString('hex') ?? '',
      isAes: ulong(keyType) === CKK_AES,
      mayDecrypt: decrypt?.value[0] === 1,
      mayEncrypt: encrypt?.value[0] === 1,
    };
  }

  // --- tokens

  /** A key that is not seen is gone only if its token is there and we are logged in: private keys hide from others. */
  #expectToken(session: Session, names: KeyNames): void {
    const { state } = this.#cryptoki().C_GetSessionInfo(session.handle);
    const known = !session.loginRequired || LOGGED_IN.includes(state);
    if (!known || !this.#matches(session.slot, names)) this.#unreached('its token went away');
  }

  #session(names: KeyNames): Session {
    const by = JSON.stringify([names.token, names.pinFile]);
    const open = this.#sessions.get(by);
    if (open) return open;
    const session = this.#login(this.#slot(names), names.pinFile);
    this.#sessions.set(by, session);
    return session;
  }

  #slot(names: KeyNames): Pkcs11.Handle {
    const slots = this.#cryptoki()
      .C_GetSlotList(true)
      .filter((slot) => this.#matches(slot, names));
    const [slot] = slots;
    if (slot && slots.length === 1) return slot;
    const token = names.token.token ?? names.token.serial;
    const why = slot
      ? `${slots.length} tokens are "${token}"; give serial=NUMBER`
      : `no token "${token}" is there`;
    return this.#unreached(why);
  }

  #matches(slot: Pkcs11.Handle, { token: wanted }: KeyNames): boolean {
    let info: Pkcs11.TokenInfo;
    try {
      info = this.#cryptoki().C_GetTokenInfo(slot);
    } catch (error) {
      if (ckrOf(error) === undefined) throw error;
      return false;
    }
    const same = (asked: string | undefined, found: string): boolean =>
      asked === undefined || asked.trimEnd() === found.replace(/[\0 ]+$/, '');
    return (
      (info.flags & this.pkcs11.CKF_TOKEN_INITIALIZED) !== 0 &&
      same(wanted.token, info.label) &&
      same(wanted.serial, info.serialNumber) &&
      same(wanted.manufacturer, info.manufacturerID) &&
      same(wanted.model, info.model)
    );
  }

  #login(slot: Pkcs11.Handle, pinFile: string | undefined): Session {
    const { CKF_SERIAL_SESSION, CKF_LOGIN_REQUIRED, CKU_USER } = this.pkcs11;
    const cryptoki = this.#cryptoki();
    const { flags } = cryptoki.C_GetTokenInfo(slot);
    const loginRequired = (flags & CKF_LOGIN_REQUIRED) !== 0;
    const pin = loginRequired ? this.#pin(flags, pinFile) : undefined;
    const session = { handle: cryptoki.C_OpenSession(slot, CKF_SERIAL_SESSION), slot, loginRequired };
    if (!pin) return session;
    try {
      cryptoki.C_Login(session.handle, CKU_USER, pin.text);
    } catch (error) {
      if (ckrOf(error) === 'CKR_USER_ALREADY_LOGGED_IN') return session;
      if (isPinRefusal(error)) this.refusedPin = pin.identity;
      cryptoki.C_CloseSession(session.handle);
      throw error;
    }
    return session;
  }

  /** The PIN, unless the token says that a wrong one would be the last. */
  #pin(flags: number, pinFile: string | undefined): Pin {
    const { CKF_USER_PIN_LOCKED, CKF_USER_PIN_FINAL_TRY } = this.pkcs11;
    if ((flags & CKF_USER_PIN_LOCKED) !== 0) this.#deny('its PIN is locked');
    if ((flags & CKF_USER_PIN_FINAL_TRY) !== 0) {
      this.#deny('one more wrong PIN locks its token; log in once with another program');
    }
    return readPin(pinFile, this.refusedPin, this.#keyUri);
  }

  // --- the module

  #cryptoki(): Pkcs11.PKCS11 {
    const module = this.#load();
    if (this.#initialized) return module;
    try {
      module.C_Initialize();
    } catch (error) {
      if (ckrOf(error) !== 'CKR_CRYPTOKI_ALREADY_INITIALIZED') throw error;
    }
    this.#initialized = true;
    return module;
  }

  #load(): Pkcs11.PKCS11 {
    if (this.#loaded) return this.#loaded;
    const module = new this.pkcs11.PKCS11();
    try {
      module.load(this.path);
    } catch (error) {
      this.#unreached(`${this.path} cannot be loaded (${(error as Error).message})`);
    }
    this.#loaded = module;
    return module;
  }

  #unreached(why: string): never {
    fail('KMS_CONNECTION', { keyUri: this.#keyUri, why });
  }

  #deny(why: string): never {
    fail('KMS_ACCESS_DENIED', { keyUri: this.#keyUri, why });
  }
}

const done = ({ keyId, mayDecrypt: enabled }: Key, more: Partial<Worked>): Worked => ({
  keyId,
  enabled,
  plainBytes: 0,
  ...more,
});

/** A CK_ULONG, in the byte order of the machine, which is little-endian wherever sealdisk runs. */
function ulong(attribute: Pkcs11.AttributeResult | undefined): number {
  return attribute?.value.length === 8 ? Number(attribute.value.readBigUInt64LE()) : -1;
}
