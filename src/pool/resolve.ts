/**
 * What a command line names: an object of the pool by its name, its id, its UUID or its file's name; any file by its path;
 * a device of the kernel's.
 *
 * A word with a slash is a path. Any other word is looked for in the pool first and then, for those who stand in the
 * folder of their disks, as a file here.
 */

import { existsSync, mkdirSync, realpathSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { plainFileName } from '../disk/plain.js';
import { errnoOf, fail } from '../errors.js';
import type { ObjectKind } from '../luks2/label.js';
import type { Entry } from './entry.js';
import { scanPool } from './scan.js';

/** The absolute path of a file as the user named it, through symbolic links where it exists. */
export function absolute(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return resolve(path);
  }
}

/** The path of the object that `word` names. DISK_NOT_FOUND, DISK_AMBIGUOUS, DISK_IO. */
export async function resolveObject(word: string, poolDir: string): Promise<string> {
  if (word.includes('/')) return absolute(word);
  const file = join(poolDir, word);
  const { entries } = await scanPool(poolDir);
  const named = entries.filter((entry) => isNamed(entry, word));
  if (named.length > 1) {
    const paths = named.map(({ path, id }) => `${path} (${id})`).join(', ');
    fail('DISK_AMBIGUOUS', { word, paths });
  }
  const [found] = named;
  if (found) return absolute(found.path);
  if (!word.startsWith('.') && existsSync(file)) return absolute(file);
  if (existsSync(word)) return absolute(word);
  return fail('DISK_NOT_FOUND', { path: `${word} (neither in ${poolDir} nor in this folder)` });
}

const isNamed = ({ path, id, uuid, name }: Entry, word: string): boolean =>
  id === word || name === word || uuid === word || path.endsWith(`/${word}`);

/** Only root, or whoever owns the pool, has a business there. */
function makePool(poolDir: string): void {
  try {
    mkdirSync(poolDir, { recursive: true, mode: 0o700 });
  } catch (error) {
    fail('DISK_IO', { path: poolDir, errno: errnoOf(error) }, error);
  }
}

/** Where a new object is to be made: what `word` names as a path, or a file of that name in the pool. USAGE. */
export function placeFor(
  word: string,
  { poolDir, kind, encrypted }: { poolDir: string; kind: ObjectKind; encrypted: boolean },
): string {
  if (word.includes('/')) return absolute(word);
  if (!/^[^.]/u.test(word) || /^[dsm]-[0-9a-f]{20}$/.test(word)) {
    fail('USAGE', { what: `${word} is no name: expected one that begins with no dot and looks like no id` });
  }
  makePool(poolDir);
  return join(absolute(poolDir), encrypted ? word : plainFileName(kind, word));
}
