/** sealdisk key describe, tag, untag, alias: what people call a key. */

import { type Command, InvalidArgumentError } from 'commander';
import { action, type CommonOptions, common } from './context.js';
import { aliasName, keyCommand, kmsOf, type Register } from './key-common.js';
import { printJson, printLine, printTable } from './output.js';

/** A repeated option of `name=value` pairs. */
export function collectTag(text: string, tags: Record<string, string>): Record<string, string> {
  const [, key, value] = /^([^=]+)=(.*)$/s.exec(text) ?? [];
  if (key === undefined || value === undefined) throw new InvalidArgumentError('Expected key=value.');
  return { ...tags, [key]: value };
}

const collect = (text: string, all: readonly string[]): string[] => [...all, text];

export const LABEL_COMMANDS: readonly Register[] = [
  keyCommand<CommonOptions & { readonly text: string }>({
    name: 'describe',
    says: 'give a key another note for people',
    example: "alias/bar --text 'of team b'",
    options: (command) => command.requiredOption('--text <text>', 'the note'),
    run: (kms, uri, { text }) => kms.setDescription(uri, text),
  }),
  keyCommand<CommonOptions & { readonly tag: Record<string, string> }>({
    name: 'tag',
    says: 'add tags, or give them other values',
    example: 'alias/bar --tag team=b',
    options: (command) => command.requiredOption('--tag <name=value>', 'may be repeated', collectTag, {}),
    run: (kms, uri, { tag }) => kms.tagKey(uri, tag),
  }),
  keyCommand<CommonOptions & { readonly tag: string[] }>({
    name: 'untag',
    says: 'take tags away',
    example: 'alias/bar --tag team',
    options: (command) => command.requiredOption('--tag <name>', 'may be repeated', collect, []),
    run: (kms, uri, { tag }) => kms.untagKey(uri, tag),
  }),
  registerAlias,
];

function registerAlias(group: Command): void {
  const aliases = group.command('alias').description('names of keys');
  const naming = (name: 'create' | 'update', says: string): void => {
    const command = aliases
      .command(name)
      .description(says)
      .argument('<alias>', 'bar, or alias/bar')
      .argument('<uri>', 'the key: an alias of it or its id');
    common(command, `sealdisk key alias ${name} bar alias/foo`).action(
      action(async (alias: string, uri: string, options: CommonOptions) => {
        const kms = kmsOf(options);
        await (name === 'create'
          ? kms.createAlias(aliasName(alias), uri)
          : kms.updateAlias(aliasName(alias), uri));
        await tell(aliasName(alias), options);
      }),
    );
  };
  naming('create', 'give a key one more name');
  naming('update', 'let a name mean another key; disks keep the key that wrapped them');
  const remove = aliases
    .command('delete')
    .description('take a name away')
    .argument('<alias>', 'bar, or alias/bar');
  common(remove, 'sealdisk key alias delete bar').action(
    action(async (alias: string, options: CommonOptions) => kmsOf(options).deleteAlias(aliasName(alias))),
  );
  const list = aliases
    .command('list')
    .description('all names, or those of one key')
    .argument('[uri]', 'a key');
  common(list, 'sealdisk key alias list').action(
    action(async (uri: string | undefined, options: CommonOptions) => {
      const { aliases: found } = await kmsOf(options).listAliases(uri === undefined ? {} : { ref: uri });
      const sorted = found.sort((a, b) => (a.alias < b.alias ? -1 : 1));
      if (options.json) return printJson(sorted);
      printTable(
        ['ALIAS', 'KEY ID'],
        sorted.map(({ alias, keyId }) => [alias, keyId]),
      );
    }),
  );
}

async function tell(alias: string, options: CommonOptions): Promise<void> {
  const keyId = await kmsOf(options).resolve(alias);
  if (options.json) printJson({ alias, keyId });
  else printLine(`${alias} is ${keyId}`);
}
