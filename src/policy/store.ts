/**
 * The policies of a pool: POOL/policies/NAME.json, each with whom it speaks of.
 *
 * Kept true: a policy counts whole, as it was added, from one command to the next; what stands there and cannot be
 * trusted or read (another owner, writable by others, half a file) denies everything until somebody looks. The folder and
 * the files are for their owner alone, who is whoever owns the pool: root. Written aside, synced, and named then.
 */

import { randomUUID } from 'node:crypto';
import { constants, type Stats } from 'node:fs';
import { link, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, fail, isFailure } from '../errors.js';
import type { JsonObject } from '../json.js';
import { syncFolder, writeSynced } from '../kms/local/durable.js';
import type { Caller } from './caller.js';
import type { NamedPolicy } from './evaluate.js';
import { Document, POLICY_MAX_BYTES, policyIn, type Source } from './parse.js';

/** Whom a policy speaks of: everyone, root too, or these users and the members of these groups. */
export type Principals =
  | { readonly kind: 'everyone' }
  | { readonly kind: 'some'; readonly users: readonly string[]; readonly groups: readonly string[] };

export interface StoredPolicy extends NamedPolicy {
  readonly principals: Principals;
  readonly addedAt: string;
  /** The policy as JSON. */
  readonly document: JsonObject;
}

const SUFFIX = '.json';
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;

export const policiesDir = (poolDir: string): string => join(poolDir, 'policies');
const pathOf = (poolDir: string, name: string): string => join(policiesDir(poolDir), name + SUFFIX);

/** Fails with POLICY_NAME. */
export function checkName(name: string): string {
  return NAME.test(name) && !name.endsWith(SUFFIX) ? name : fail('POLICY_NAME', { found: name });
}

/** Whether the policy speaks of the caller. */
export const concerns = ({ principals }: StoredPolicy, { user, groups }: Omit<Caller, 'uid' | 'guest'>) =>
  principals.kind === 'everyone' ||
  principals.users.includes(user) ||
  groups.some((group) => principals.groups.includes(group));

/** All policies of the pool, by name; none where there is no folder of them. Fails with POLICY_STORE or DISK_IO. */
export async function readPolicies(poolDir: string): Promise<StoredPolicy[]> {
  const dir = policiesDir(poolDir);
  const names = await readdir(dir).catch((error) => {
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error))) return [];
    // Whose pool it is not is kept from its disks by the file system, and not by policies.
    if (errnoOf(error) === 'EACCES' && process.getuid?.() !== 0) return [];
    return fail('DISK_IO', { path: dir, errno: errnoOf(error) }, error);
  });
  const found = names.filter((name) => name.endsWith(SUFFIX) && !name.startsWith('.')).sort();
  return Promise.all(found.map((file) => readOne(dir, file.slice(0, -SUFFIX.length))));
}

/** Fails with POLICY_NOT_FOUND, POLICY_STORE or DISK_IO. */
export async function readPolicy(poolDir: string, name: string): Promise<StoredPolicy> {
  const all = await readPolicies(poolDir);
  return all.find((policy) => policy.name === name) ?? fail('POLICY_NOT_FOUND', { name });
}

async function readOne(dir: string, name: string): Promise<StoredPolicy> {
  const path = join(dir, name + SUFFIX);
  const text = await readTrusted(path);
  try {
    return stored({ name: path, text }, name);
  } catch (error) {
    if (!isFailure(error, 'POLICY_SYNTAX')) throw error;
    const { line, column, found, expected } = error.facts;
    return fail('POLICY_STORE', { path: `${path}:${line}:${column}`, found, expected }, error);
  }
}

/** What is written there by nobody but the owner of this process, or root. */
async function readTrusted(path: string): Promise<string> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      checkTrusted(path, await file.stat());
      return await file.readFile('utf8');
    } finally {
      await file.close();
    }
  } catch (error) {
    if (isFailure(error)) throw error;
    return fail('DISK_IO', { path, errno: errnoOf(error) }, error);
  }
}

function checkTrusted(path: string, { uid, mode, size, ...stat }: Stats): void {
  const refuse = (found: string, expected: string) => fail('POLICY_STORE', { path, found, expected });
  if ((mode & constants.S_IFMT) !== constants.S_IFREG) refuse('no file', 'a file');
  if (stat.nlink !== 1) refuse(`a file of ${stat.nlink} names`, 'one name');
  if (uid !== 0 && uid !== process.getuid?.()) refuse(`owned by user ${uid}`, 'root');
  if ((mode & 0o022) !== 0) refuse(`writable by others (mode ${(mode & 0o777).toString(8)})`, 'mode 600');
  if (size > 2 * POLICY_MAX_BYTES) refuse(`${size} bytes long`, `at most ${2 * POLICY_MAX_BYTES}`);
}

const FIELDS = ['version', 'added_at', 'principals', 'policy'];

function stored(source: Source, name: string): StoredPolicy {
  const document = Document.read(source);
  const { root } = document;
  const object = document.object(root, 'a stored policy', FIELDS);
  if (object.version !== 1) document.refuse(document.element(object, 'version', root), 'version 1');
  const addedAt = document.element(object, 'added_at', root);
  if (typeof addedAt.value !== 'string') document.refuse(addedAt, 'a time');
  const policy = document.element(object, 'policy', root);
  return {
    name,
    principals: principalsIn(document, document.element(object, 'principals', root)),
    addedAt: addedAt.value as string,
    document: policy.value as JsonObject,
    ...policyIn(document, policy),
  };
}

function principalsIn(document: Document, found: { value: unknown; at: number }): Principals {
  if (found.value === 'everyone') return { kind: 'everyone' };
  const entry = found as Parameters<Document['object']>[0];
  const object = document.object(entry, '"everyone", or users and groups', ['users', 'groups']);
  const names = (field: string): string[] => {
    const list = document.element(object, field, entry);
    const all = Array.isArray(list.value) ? list.value : document.refuse(list, `a list of ${field}`);
    return all.map((each) => (typeof each === 'string' ? each : document.refuse(list, `names of ${field}`)));
  };
  return { kind: 'some', users: names('users'), groups: names('groups') };
}

export interface NewPolicy {
  readonly name: string;
  readonly principals: Principals;
  /** The text of the policy; refused whole (POLICY_SYNTAX) when it is none. */
  readonly source: Source;
  /** Take the place of the one of this name. */
  readonly replace: boolean;
}

/** Adds the policy; it counts from the next command on. POLICY_NAME, POLICY_SYNTAX, DISK_EXISTS, DISK_IO. */
export async function addPolicy(poolDir: string, policy: NewPolicy): Promise<StoredPolicy> {
  const name = checkName(policy.name);
  const document = Document.read(policy.source);
  policyIn(document, document.root);
  const { principals } = policy;
  const { kind: _, ...some } = principals;
  const json = {
    version: 1,
    added_at: new Date().toISOString(),
    principals: principals.kind === 'everyone' ? 'everyone' : some,
    policy: document.root.value,
  };
  const text = `${JSON.stringify(json, null, 2)}\n`;
  const path = pathOf(poolDir, name);
  const made = stored({ name: path, text }, name);
  await write(poolDir, path, text, policy.replace);
  return made;
}

async function write(poolDir: string, path: string, text: string, replace: boolean): Promise<void> {
  const dir = policiesDir(poolDir);
  const aside = join(dir, `.${randomUUID()}.new`);
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    await syncFolder(poolDir);
    await writeSynced(aside, Buffer.from(text));
    if (replace) await rename(aside, path);
    else await link(aside, path);
    await rm(aside, { force: true });
    await syncFolder(dir);
  } catch (error) {
    await rm(aside, { force: true }).catch(() => undefined);
    if (errnoOf(error) === 'EEXIST') fail('DISK_EXISTS', { path }, error);
    fail('DISK_IO', { path, errno: errnoOf(error) }, error);
  }
}

/** Takes the policy away. POLICY_NAME, POLICY_NOT_FOUND, DISK_IO. */
export async function deletePolicy(poolDir: string, name: string): Promise<void> {
  const path = pathOf(poolDir, checkName(name));
  try {
    await rm(path);
    await syncFolder(policiesDir(poolDir));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') fail('POLICY_NOT_FOUND', { name }, error);
    fail('DISK_IO', { path, errno: errnoOf(error) }, error);
  }
}
