/**
 * Putting a root key under a protection, and getting it back. Every kind but the plain file gives a key of its own,
 * under which the root key is sealed; so a change of the protection leaves the root key, and the store, as they are.
 */

import { join } from 'node:path';
import { fail, unreachable } from '../../../errors.js';
import type { SecretBytes } from '../../provider.js';
import { writeDurably } from '../durable.js';
import { loadRootKey, ROOT_FILE } from '../root-key.js';
import { seal, unsealSecret } from '../seal.js';
import { consumeSecret, freeSecret } from '../secret.js';
import { keyOfCredential } from './credential.js';
import type { ProtectionKind, RootEntry } from './description.js';
import { newArgon2, PASSPHRASE_FILE, passphraseFrom, stretch } from './passphrase.js';
import { sealToTpm, unsealFromTpm } from './tpm.js';

/** How a root key shall be kept from now on. */
export interface Wish {
  readonly kind: ProtectionKind;
  /** Of the new passphrase; without it as the present one is given, or asked for. */
  readonly passphraseFile?: string;
  readonly pcrs?: string;
}

const bound = (generation: number, kind: ProtectionKind): Buffer =>
  Buffer.from(['sealdisk kms 1', 'root', String(generation), kind].join('\0'));

/** Keeps `root` as wished. For `file` the key lies on stable storage when it returns; the caller holds the lock. */
export async function protect(
  dir: string,
  root: SecretBytes,
  generation: number,
  wish: Wish,
): Promise<RootEntry> {
  const { kind } = wish;
  const boxUnder = (key: SecretBytes): string =>
    consumeSecret(key, () => seal(root, bound(generation, kind), key).toString('base64'));
  switch (kind) {
    case 'file': {
      const file = generation === 1 ? ROOT_FILE : `root.${generation}.key`;
      await writeDurably(join(dir, file), root);
      return { generation, protection: { kind, file } };
    }
    case 'passphrase': {
      const argon2 = newArgon2();
      const question = { text: 'New passphrase of the root key', twice: true };
      const key = await stretch(
        await passphraseFrom(wish.passphraseFile ?? process.env[PASSPHRASE_FILE], question),
        argon2,
      );
      return { generation, protection: { kind, ...argon2, box: boxUnder(key) } };
    }
    case 'credential':
      return { generation, protection: { kind, box: boxUnder(await keyOfCredential(process.env)) } };
    case 'tpm': {
      const { key, object } = await sealToTpm(wish.pcrs ?? null);
      return { generation, protection: { kind, ...object, box: boxUnder(key) } };
    }
    default:
      return unreachable(kind);
  }
}

/** The root key in secure memory; the caller frees it. Fails with KMS_ROOT_LOCKED, KMS_STORE, or ENOENT. */
export async function unprotect(dir: string, { generation, protection }: RootEntry): Promise<SecretBytes> {
  if (protection.kind === 'file') return loadRootKey(dir, protection.file);
  const key = await openingKey(protection);
  try {
    const box = Buffer.from(protection.box, 'base64');
    return (
      unsealSecret(box, bound(generation, protection.kind), key) ??
      fail('KMS_ROOT_LOCKED', { why: `the ${protection.kind} that was given does not open it` })
    );
  } finally {
    freeSecret(key);
  }
}

async function openingKey(
  protection: Exclude<RootEntry['protection'], { kind: 'file' }>,
): Promise<SecretBytes> {
  switch (protection.kind) {
    case 'passphrase': {
      const question = { text: 'Passphrase of the root key', twice: false };
      return stretch(await passphraseFrom(process.env[PASSPHRASE_FILE], question), protection);
    }
    case 'credential':
      return keyOfCredential(process.env);
    case 'tpm':
      return unsealFromTpm(protection);
    default:
      return unreachable(protection);
  }
}
