/** sealdisk kms access-key: who may call the network face of the embedded KMS, and for what. */

import type { Command } from 'commander';
import { fail } from '../errors.js';
import { AccessKeys, parseRule, type Rule } from '../kms/local/access-keys.js';
import { kmsDirOf } from '../kms/local/provider.js';
import { action, argument, type CommonOptions, common, environmentOf } from './context.js';
import { printFields, printJson, printLine, printNote, printTable } from './output.js';
import { parseDuration } from './units.js';

interface CreateOptions extends CommonOptions {
  readonly name?: string;
  readonly allow: readonly Rule[];
  readonly expires?: string;
}

export function registerAccessKey(group: Command): void {
  const keys = group
    .command('access-key')
    .description('make, list and delete access keys of the network face');
  registerCreate(keys);
  registerList(keys);
  registerDelete(keys);
}

const accessKeysOf = (options: CommonOptions) => new AccessKeys(kmsDirOf(environmentOf(options).poolDir));

function registerCreate(group: Command): void {
  const command = group
    .command('create')
    .description('make an access key; its secret is shown this once')
    .option('--name <name>', 'a note for people')
    .option(
      '--allow <action[:key]>',
      'allow an operation (* for any letters), on one key where one is named; may be given again (default: everything)',
      collect,
      [],
    )
    .option('--expires <time>', 'when it ends: in 12h, or at 2027-01-31T12:00:00Z', argument(parseEnd));
  common(
    command,
    'sealdisk kms access-key create --name web --allow Decrypt:alias/web --allow DescribeKey',
  ).action(
    action(async (options: CreateOptions) => {
      const made = await accessKeysOf(options).create({
        ...(options.name !== undefined && { name: options.name }),
        allow: options.allow,
        expiresAt: options.expires ?? null,
      });
      const { accessKeySecret, securityToken } = made;
      const { accessKeyId, name, allow, expiresAt } = made.info;
      if (options.json) {
        return printJson({
          accessKeyId,
          accessKeySecret,
          ...(securityToken !== null && { securityToken, expiresAt }),
          name,
          allow: allow.map(ruleText),
        });
      }
      printFields({
        accessKeyId,
        accessKeySecret,
        securityToken: securityToken ?? '',
        expiresAt: expiresAt ?? '',
      });
      printNote('keep the secret: it is not shown again');
    }),
  );
}

function registerList(group: Command): void {
  const command = group.command('list').description('all access keys, without their secrets');
  common(command, 'sealdisk kms access-key list').action(
    action(async (options: CommonOptions) => {
      const keys = await accessKeysOf(options).list();
      if (options.json) return printJson(keys.map((key) => ({ ...key, allow: key.allow.map(ruleText) })));
      printTable(
        ['ACCESS KEY ID', 'NAME', 'CREATED', 'EXPIRES', 'ALLOW'],
        keys.map((key) => [
          key.accessKeyId,
          key.name,
          key.createdAt,
          key.expiresAt ?? 'never',
          key.allow.map(ruleText).join(' ') || 'everything',
        ]),
      );
    }),
  );
}

function registerDelete(group: Command): void {
  const command = group
    .command('delete')
    .description('take an access key away: its next call is refused')
    .argument('<access-key-id>', 'as create and list show it');
  common(command, 'sealdisk kms access-key delete SDAK2345...').action(
    action(async (accessKeyId: string, options: CommonOptions) => {
      await accessKeysOf(options).delete(accessKeyId);
      if (options.json) printJson({ accessKeyId });
      else printLine(`${accessKeyId} is deleted`);
    }),
  );
}

const ruleText = ({ action, key }: Rule): string => (key === null ? action : `${action}:${key}`);

const collect = (text: string, before: readonly Rule[]): readonly Rule[] => [
  ...before,
  argument(parseRule)(text),
];

/** ISO time of a duration from now, or of a date. */
function parseEnd(text: string): string {
  const absolute = /^\d{4}-\d\d-\d\d/.test(text);
  const ms = absolute ? Date.parse(text) : Date.now() + parseDuration(text);
  if (Number.isNaN(ms) || ms <= Date.now()) fail('USAGE', { what: `"${text}" is not a time to come` });
  return new Date(ms).toISOString();
}
