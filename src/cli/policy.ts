/** sealdisk policy: who may do what with disks, snapshots and images of the pool. */

import { readFile } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { engine } from '../engine/engine.js';
import { errnoOf, fail } from '../errors.js';
import { DEFAULT_KEY_URI } from '../kms/local/ref.js';
import { judge, reasonOf } from '../policy/authorize.js';
import { type Caller, currentCaller } from '../policy/caller.js';
import { ACTIONS, type Action } from '../policy/language.js';
import { notesOn } from '../policy/notes.js';
import { READY_NAMES, readyPolicy } from '../policy/ready.js';
import {
  addPolicy,
  deletePolicy,
  type Principals,
  readPolicies,
  readPolicy,
  type StoredPolicy,
} from '../policy/store.js';
import type { Subject } from '../policy/subject.js';
import { action, type CommonOptions, common, environmentOf } from './context.js';
import { collectTag } from './key-labels.js';
import { printFields, printJson, printLine, printNote, printTable } from './output.js';

const collect = (text: string, all: readonly string[]): readonly string[] => [...all, text];
const poolOf = (options: CommonOptions): string => resolve(options.pool);

export function register(program: Command): void {
  const group = program
    .command('policy')
    .description('who may do what with disks: rules in the language of RAM policies, kept by root');
  for (const each of [registerAdd, registerList, registerShow, registerDelete, registerTest]) each(group);
}

type AddOptions = CommonOptions & {
  readonly name?: string;
  readonly user: readonly string[];
  readonly group: readonly string[];
  readonly replace?: boolean;
};

function registerAdd(group: Command): void {
  const command = group
    .command('add')
    .description('add a policy; it counts from the next command on, for root too')
    .argument('<file|ready>', `a file with a policy, or one that ships: ${READY_NAMES.join(', ')}`)
    .option('--name <name>', 'its name (default: that of the file)')
    .option('--user <user>', 'it speaks of this user; may be given again (default: everyone)', collect, [])
    .option('--group <group>', 'it speaks of the members of this group; may be given again', collect, [])
    .option('--replace', 'take the place of the policy of that name, with its users and groups');
  common(command, 'sealdisk policy add encrypted-only').action(
    action(async (file: string, options: AddOptions) => {
      const text = readyPolicy(file) ?? (await textOf(file));
      const added = await addPolicy(poolOf(options), {
        name: options.name ?? basename(file).replace(/\.json$/, ''),
        principals: principalsOf(options),
        source: { name: file, text },
        replace: options.replace ?? false,
      });
      for (const note of [...notesOn(added), ...unknownNames(options)]) printNote(note);
      if (options.json) printJson(factsOf(added));
      else printLine(`${added.name}: ${countOf(added)} for ${principalsIn(added)}`);
    }),
  );
}

function registerList(group: Command): void {
  common(group.command('list').description('the policies of the pool'), 'sealdisk policy list --json').action(
    action(async (options: CommonOptions) => {
      const policies = await readPolicies(poolOf(options));
      if (options.json) return printJson(policies.map(factsOf));
      printTable(
        ['NAME', 'FOR', 'STATEMENTS', 'ADDED'],
        policies.map((one) => [one.name, principalsIn(one), countOf(one), one.addedAt]),
      );
    }),
  );
}

function registerShow(group: Command): void {
  const command = group.command('show').description('a policy, and whom it speaks of').argument('<name>');
  common(command, 'sealdisk policy show encrypted-only').action(
    action(async (name: string, options: CommonOptions) => {
      const policy = await readPolicy(poolOf(options), name);
      if (options.json) return printJson(factsOf(policy));
      printFields({ policy: policy.name, for: principalsIn(policy), added: policy.addedAt });
      printJson(policy.document);
    }),
  );
}

function registerDelete(group: Command): void {
  const command = group
    .command('delete')
    .description('take a policy away; what it forbade is allowed from the next command on')
    .argument('<name>');
  common(command, 'sealdisk policy delete encrypted-only').action(
    action(async (name: string, options: CommonOptions) => {
      await deletePolicy(poolOf(options), name);
      if (options.json) printJson({ deleted: name });
      else printLine(`${name} deleted`);
    }),
  );
}

type TestOptions = CommonOptions & {
  readonly user?: string;
  readonly kind: Subject['kind'];
  readonly name: string;
  readonly id: string;
  readonly key: string;
  readonly unencrypted?: boolean;
  readonly system?: boolean;
  readonly tag: Readonly<Record<string, string>>;
};

function registerTest(group: Command): void {
  const command = group
    .command('test')
    .description('what the policies say to an act, without doing it; prints the statement that decides')
    .argument('<action>', 'as ecs:CreateDisk', parseAction)
    .option('--user <user>', 'as this user (default: you)')
    .addOption(
      new Option('--kind <kind>', 'what it is done to')
        .choices(['disk', 'snapshot', 'image'])
        .default('disk'),
    )
    .option('--name <name>', 'its name', '')
    .option('--id <id>', 'its id, where it is there already', '')
    .option('--key <uri>', 'the key that wraps it', DEFAULT_KEY_URI)
    .option('--unencrypted', 'it is plain')
    .option('--system', 'it is the disk of a system')
    .option('--tag <key=value>', 'a tag of it; may be given again', collectTag, {});
  common(command, 'sealdisk policy test ecs:CreateDisk --user alice --unencrypted').action(
    action(async (asked: Action, options: TestOptions) => {
      const caller = options.user === undefined ? currentCaller() : callerNamed(options.user);
      const { verdict } = await judge(caller, asked, subjectOf(options), environmentOf(options));
      if (options.json) printJson({ action: asked, user: caller.user, ...verdict });
      else printLine(`${verdict.allowed ? 'allowed' : 'denied'}: ${reasonOf(verdict)}`);
    }),
  );
}

function parseAction(text: string): Action {
  const known = ACTIONS.find((each) => each.toLowerCase() === text.toLowerCase());
  if (known === undefined) throw new InvalidArgumentError(`Expected one of ${ACTIONS.join(', ')}.`);
  return known;
}

const subjectOf = ({ kind, id, name, key, unencrypted, system, tag }: TestOptions): Subject => ({
  kind,
  id,
  name,
  key: unencrypted ? null : { uri: key },
  system: system ?? false,
  tags: tag,
});

function callerNamed(name: string): Pick<Caller, 'user' | 'groups'> {
  const account = engine().account(name);
  if (account === null) return fail('USAGE', { what: `there is no user ${name}` });
  return { user: account.name, groups: account.groups };
}

async function textOf(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT')
      fail('USAGE', { what: `found no file ${file}, expected one, or ${READY_NAMES.join(' or ')}` }, error);
    return fail('DISK_IO', { path: file, errno: errnoOf(error) }, error);
  }
}

const principalsOf = ({ user, group }: AddOptions): Principals =>
  user.length + group.length === 0 ? { kind: 'everyone' } : { kind: 'some', users: user, groups: group };

/** A name may be there tomorrow; it may also be mistyped. */
const unknownNames = ({ user }: AddOptions): string[] =>
  user.filter((name) => engine().account(name) === null).map((name) => `user ${name} is not known here yet`);

const countOf = ({ statements }: StoredPolicy): string =>
  `${statements.length} statement${statements.length === 1 ? '' : 's'}`;

const principalsIn = ({ principals }: StoredPolicy): string =>
  principals.kind === 'everyone'
    ? 'everyone'
    : [...principals.users, ...principals.groups.map((group) => `@${group}`)].join(' ');

const factsOf = ({ name, principals, addedAt, document }: StoredPolicy) => ({
  name,
  principals,
  addedAt,
  policy: document,
});
