/** sealdisk delete, and the delete of snapshots and images. */

import type { Command } from 'commander';
import { deletable, remove } from '../attach/delete.js';
import { fail } from '../errors.js';
import type { ObjectKind } from '../luks2/label.js';
import { action, type CommonOptions, common, environmentOf, OBJECT, objectPath } from './context.js';
import { confirm, printJson, printLine } from './output.js';

interface Options extends CommonOptions {
  readonly cryptoErase?: boolean;
  readonly yes?: boolean;
}

export function register(program: Command): void {
  registerDelete(program, 'disk', 'sealdisk delete data --crypto-erase');
}

/** Adds the command `delete` for objects of the kind. */
export function registerDelete(group: Command, kind: ObjectKind, example: string): void {
  const command = group
    .command('delete')
    .description(`delete a ${kind} that is not in service; asks first`)
    .argument(`<${kind}>`, OBJECT)
    .option('--crypto-erase', 'overwrite its wrapped data key first; its snapshots and copies have it still')
    .option('--yes', 'do not ask');
  common(command, example).action(
    action(async (word: string, options: Options) => {
      const path = await objectPath(word, options);
      const { label } = await deletable(path);
      if (label.object.kind !== kind) {
        fail('USAGE', { what: `${path} is of the kind ${label.object.kind}, expected a ${kind}` });
      }
      await confirm('delete', `Delete ${path} for ever?`, options.yes ?? false);
      await remove(path, options.cryptoErase ?? false, environmentOf(options));
      if (options.json) printJson({ deleted: path, id: label.object.id });
      else printLine(`${path} deleted`);
    }),
  );
}
