/**
 * What kinds of key there are. One can wrap data keys; the others exist, as in a cloud, and are refused for disks.
 */

import { generateKeyPair, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import sodium from 'sodium-native';
import { fail } from '../../errors.js';
import type { SecretBytes } from '../provider.js';
import { KEY_BYTES } from './seal.js';
import { allocSecret } from './secret.js';

/** The one spec that can wrap data keys. */
export const SYMMETRIC_SPEC = 'AES_256';

const generate = promisify(generateKeyPair);
const PKCS8 = { type: 'pkcs8', format: 'der' } as const;
const SPKI = { type: 'spki', format: 'der' } as const;

const rsa = (modulusLength: number) => async () => (await generate('rsa', { modulusLength })).privateKey;
const ec = (namedCurve: string) => async () => (await generate('ec', { namedCurve })).privateKey;

const ASYMMETRIC: Readonly<Record<string, () => Promise<KeyObject>>> = {
  RSA_2048: rsa(2048),
  RSA_3072: rsa(3072),
  RSA_4096: rsa(4096),
  EC_P256: ec('P-256'),
  EC_P384: ec('P-384'),
};

export const SPECS: readonly string[] = [SYMMETRIC_SPEC, ...Object.keys(ASYMMETRIC)];

/** Fresh random material of `spec` (a private key is PKCS #8 in DER) in secure memory, which the caller frees. Fails with KMS_UNSUPPORTED_KEY. */
export async function freshMaterial(spec: string): Promise<SecretBytes> {
  if (spec !== SYMMETRIC_SPEC) return privateKey(spec);
  const material = allocSecret(KEY_BYTES);
  sodium.randombytes_buf(material);
  return material;
}

/** An RSA pair for one import: the public key as SPKI, and the private one in secure memory, which the caller frees. */
export async function importPair(
  spec: ImportSpec,
): Promise<{ readonly publicKey: Buffer; readonly privateKey: SecretBytes }> {
  const { publicKey, privateKey } = await generate('rsa', { modulusLength: IMPORT_BITS[spec] });
  return { publicKey: publicKey.export(SPKI), privateKey: secretOf(privateKey.export(PKCS8)) };
}

const IMPORT_BITS = { RSA_2048: 2048, RSA_3072: 3072, RSA_4096: 4096 } as const;
export type ImportSpec = keyof typeof IMPORT_BITS;

async function privateKey(spec: string): Promise<SecretBytes> {
  const make = Object.hasOwn(ASYMMETRIC, spec) ? ASYMMETRIC[spec] : undefined;
  if (!make)
    return fail('KMS_UNSUPPORTED_KEY', { keyUri: 'local:', found: spec, expected: SPECS.join(', ') });
  return secretOf((await make()).export(PKCS8));
}

/** `bytes` moved into secure memory. */
export function secretOf(bytes: Buffer): SecretBytes {
  const secret = allocSecret(bytes.length);
  bytes.copy(secret);
  bytes.fill(0);
  return secret;
}
