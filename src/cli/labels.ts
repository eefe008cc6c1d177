/** sealdisk rename and sealdisk tag: what an object is called, attached or not. */

import type { Command } from 'commander';
import { relabel } from '../attach/relabel.js';
import type { LabelChange } from '../disk/relabel.js';
import { fail } from '../errors.js';
import { action, type CommonOptions, common, environmentOf, OBJECT, objectPath } from './context.js';
import { printJson, printLine } from './output.js';

export function registerRename(program: Command): void {
  const command = program
    .command('rename')
    .description('give a disk, snapshot or image another name; its file stays where it is')
    .argument('<object>', OBJECT)
    .argument('<name>', 'the new name');
  common(command, 'sealdisk rename data old-data').action(
    action(async (word: string, name: string, options: CommonOptions) => change(word, { name }, options)),
  );
}

export function registerTag(program: Command): void {
  const command = program
    .command('tag')
    .description('give a disk, snapshot or image tags, or take them away')
    .argument('<object>', OBJECT)
    .argument('<tag...>', 'key=value, or key- to take it away');
  common(command, 'sealdisk tag data team=storage draft-').action(
    action(async (word: string, words: string[], options: CommonOptions) =>
      change(word, { tags: Object.fromEntries(words.map(parseTag)) }, options),
    ),
  );
}

function parseTag(word: string): [string, string | null] {
  const [, key, value] = /^([^=]+)=(.*)$/s.exec(word) ?? [];
  if (key !== undefined) return [key, value ?? ''];
  if (/^[^=]+-$/.test(word)) return [word.slice(0, -1), null];
  return fail('USAGE', { what: `${word} is no tag: expected key=value, or key-` });
}

async function change(word: string, asked: LabelChange, options: CommonOptions): Promise<void> {
  const { path, label } = await relabel(await objectPath(word, options), asked, environmentOf(options));
  if (options.json) return void printJson({ path, id: label.object.id, name: label.name, tags: label.tags });
  const tags = Object.entries(label.tags).map(([key, value]) => `${key}=${value}`);
  printLine([`${path}: ${label.name || 'without a name'}`, ...tags].join(' '));
}
