/** sealdisk import: a raw file as a plain disk of the pool. */

import { basename, resolve } from 'node:path';
import type { Command } from 'commander';
import { importPlain } from '../disk/import-plain.js';
import { mayMake } from '../pool/may.js';
import { absolute, placeFor } from '../pool/resolve.js';
import { action, type CommonOptions, common, environmentOf } from './context.js';
import { report } from './create.js';
import { collectTag } from './key-labels.js';

interface Options extends CommonOptions {
  readonly name?: string;
  readonly tag: Record<string, string>;
}

export function register(program: Command): void {
  const command = program
    .command('import')
    .description('take a raw file into the pool as a plain disk: shared or copied, the file stays')
    .argument('<file>', 'a raw disk image')
    .requiredOption('--name <name>', 'its name in the pool, or a path with a slash')
    .option('--tag <key=value>', 'a tag; may be given again', collectTag, {});
  common(command, 'sealdisk import /srv/old.raw --name old').action(
    action(async (file: string, options: Options & { name: string }) => {
      const { name: word, tag: tags } = options;
      const path = placeFor(word, { poolDir: resolve(options.pool), kind: 'disk', encrypted: false });
      const name = word.includes('/') ? '' : word;
      const toBe = { kind: 'disk', name: name || basename(path), source: '', tags, keyUri: null } as const;
      await mayMake('ecs:CreateDisk', toBe, environmentOf(options));
      report(await importPlain(absolute(file), { path, kind: 'disk', name, source: '', tags }), options);
    }),
  );
}
