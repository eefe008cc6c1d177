/**
 * From a caller's plan to the words of the command that runs for it: names become objects that are the caller's own.
 *
 * An object is its caller's by the tag `owner`, which the daemon gives to what it makes and no caller can change: the
 * files of the pool are root's. A name that belongs to somebody else is answered as one that is not there. The command
 * gets the object's id, so that what was looked at is what it acts on, whoever gives what name to what meanwhile.
 */

import { lstatSync } from 'node:fs';
import { find } from '../attach/attachments.js';
import { indexOf } from '../attach/kernel-device.js';
import { fail } from '../errors.js';
import { canonicalKeyUri } from '../kms/registry.js';
import { type Caller, isOwn, OWNER_TAG } from '../policy/caller.js';
import type { Entry } from '../pool/entry.js';
import { scanPool } from '../pool/scan.js';
import type { Plan, Word } from './commands.js';

export interface House {
  readonly poolDir: string;
  /** Canonical URIs of keys outside the pool that callers may use. */
  readonly allowedKeys: readonly string[];
}

const LIKE_ID = /^([dsm]-)?[0-9a-f]{20}$|^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

const refuse = (what: string): never => fail('DAEMON_REFUSED', { what });

/** The command line for the plan. Fails with DAEMON_REFUSED, DISK_NOT_FOUND, DISK_AMBIGUOUS or KEY_URI_*. */
export async function wordsFor(plan: Plan, caller: Caller, house: House): Promise<string[]> {
  const args = await Promise.all(plan.args.map((word) => spelled(word, caller, house)));
  const options = await Promise.all(
    plan.options.map(async (option) => {
      const text = await spelled(option, caller, house);
      return option.kind === 'flag' ? `--${option.name}` : `--${option.name}=${text}`;
    }),
  );
  const owner = plan.makes ? [`--tag=${OWNER_TAG}=${caller.user}`] : [];
  return [...plan.command, ...options, ...owner, `--pool=${house.poolDir}`, '--', ...args];
}

async function spelled({ kind, text }: Word, caller: Caller, house: House): Promise<string> {
  if (/\p{Cc}/u.test(text)) refuse('a control character');
  switch (kind) {
    case 'object':
      return (await ownObject(text, caller, house)).id;
    case 'new':
      return checkNew(text);
    case 'label':
      return checkLabel(text);
    case 'tag':
    case 'tag-change':
      return checkTag(text);
    case 'key':
      return checkKey(text, house);
    default:
      return text;
  }
}

function checkNew(text: string): string {
  if (text.includes('/')) refuse(`a path (${text}): expected a name in the pool`);
  return checkLabel(text);
}

/** What is called as another object's id would stand in its way. */
function checkLabel(text: string): string {
  if (text.includes('/') || LIKE_ID.test(text))
    refuse(`the name ${text}, which is a path or looks like an id`);
  return text;
}

function checkTag(text: string): string {
  const key = /^([^=]*)=/.exec(text)?.[1] ?? text.replace(/-$/, '');
  if (key === OWNER_TAG) refuse(`the tag ${OWNER_TAG}, which says whose an object is`);
  return text;
}

/** The key must be one of the pool's embedded KMS, or of those that root has named: others run programs, or pay. */
function checkKey(text: string, { allowedKeys }: House): string {
  const uri = canonicalKeyUri(text);
  if (uri.startsWith('local:') || allowedKeys.includes(uri)) return uri;
  return refuse(`the key ${uri}: expected one of the pool's own KMS, or one that the daemon was given`);
}

async function ownObject(word: string, caller: Caller, { poolDir }: House): Promise<Entry> {
  const missing = () => fail('DISK_NOT_FOUND', { path: word });
  const uuid = indexOf(word) === undefined ? undefined : ((await find(word))?.uuid ?? missing());
  if (uuid === undefined && word.includes('/'))
    refuse(`a path (${word}): expected a name, an id or /dev/nbdN`);
  const { entries } = await scanPool(poolDir);
  const named = entries.filter(
    (entry) =>
      isOwn(caller, entry.tags) &&
      (uuid === undefined ? [entry.id, entry.name].includes(word) : entry.uuid === uuid),
  );
  const [found] = named;
  if (found === undefined) return missing();
  if (named.length > 1) {
    const paths = named.map(({ id }) => id).join(', ');
    fail('DISK_AMBIGUOUS', { word, paths });
  }
  // Root may have linked something into the pool for itself; who follows it for others would be led out.
  if (!lstatSync(found.path).isFile()) refuse(`${word}, which is no file of the pool`);
  return found;
}
