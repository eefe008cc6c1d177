/**
 * `root.json`: which root key seals the store, and how it is kept. Without the file it is `root.key`, as a store is made.
 *
 * While a rotation is under way there are two: `current` seals everything that is written, `old` still opens what has
 * not been sealed again. Nothing here is secret: a protected key stands in `box`, sealed under a key that only the
 * passphrase, the credential or the TPM gives. The box binds the generation and the kind.
 */

import { join } from 'node:path';
import { errnoOf, fail } from '../../../errors.js';
import { writeDurably } from '../durable.js';
import { readWhole } from '../files.js';
import { ROOT_FILE, ROOT_FILES } from '../root-key.js';

export type ProtectionKind = 'file' | 'passphrase' | 'credential' | 'tpm';
export const PROTECTION_KINDS: readonly ProtectionKind[] = ['file', 'passphrase', 'credential', 'tpm'];

/** How a root key is kept. Binary is base64. */
export type Protection =
  | { readonly kind: 'file'; readonly file: string }
  | ({ readonly kind: 'passphrase'; readonly box: string } & Argon2)
  | { readonly kind: 'credential'; readonly box: string }
  | ({ readonly kind: 'tpm'; readonly box: string } & TpmObject);

export interface Argon2 {
  readonly salt: string;
  readonly passes: number;
  readonly memoryBytes: number;
}

export interface TpmObject {
  readonly public: string;
  readonly private: string;
  /** PCRs that must have the values of when it was sealed, as `sha256:0,7`; null for none. */
  readonly pcrs: string | null;
}

export interface RootEntry {
  /** Grows by one with each rotation. */
  readonly generation: number;
  readonly protection: Protection;
}

export interface RootDescription {
  readonly format: 1;
  readonly current: RootEntry;
  readonly old: RootEntry | null;
}

const AS_MADE: RootDescription = {
  format: 1,
  current: { generation: 1, protection: { kind: 'file', file: ROOT_FILE } },
  old: null,
};

export const descriptionPath = (dir: string): string => join(dir, 'root.json');

/** Fails with KMS_STORE when it cannot be understood. */
export async function readDescription(dir: string): Promise<RootDescription> {
  const path = descriptionPath(dir);
  let text: Buffer;
  try {
    text = await readWhole(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return AS_MADE;
    throw error;
  }
  try {
    const found = JSON.parse(text.toString()) as RootDescription;
    if (found.format === 1 && wellFormed(found.current) && (found.old === null || wellFormed(found.old))) {
      return found;
    }
  } catch (error) {
    fail('KMS_STORE', { path, why: 'it is not JSON' }, error);
  }
  return fail('KMS_STORE', { path, why: 'it does not describe a root key of format 1' });
}

function wellFormed({ generation, protection }: RootEntry): boolean {
  if (!Number.isSafeInteger(generation) || !PROTECTION_KINDS.includes(protection.kind)) return false;
  return protection.kind === 'file' ? ROOT_FILES.test(protection.file) : typeof protection.box === 'string';
}

/** The caller holds the lock. */
export async function writeDescription(dir: string, description: RootDescription): Promise<void> {
  await writeDurably(descriptionPath(dir), Buffer.from(`${JSON.stringify(description, null, 2)}\n`));
}

export const entriesOf = ({ current, old }: RootDescription): readonly RootEntry[] =>
  old === null ? [current] : [current, old];

/** Files in the folder that hold a root key. */
export const rootFilesOf = (description: RootDescription): string[] =>
  entriesOf(description).flatMap(({ protection }) => (protection.kind === 'file' ? [protection.file] : []));
