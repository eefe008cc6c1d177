/** sealdisk rekey: another data key, and all data under it, where it lies. */

import type { Command } from 'commander';
import { rekey } from '../disk/in-place.js';
import { readDisk } from '../disk/read.js';
import { isFailure } from '../errors.js';
import { mayMake } from '../pool/may.js';
import { action, type CommonOptions, common, environmentOf, OBJECT, objectPath } from './context.js';
import { KMS_TIMEOUT_MS, keysOf, printConverted } from './convert-common.js';
import { withProgress } from './progress.js';

interface Options extends CommonOptions {
  readonly key?: string;
}

const MEANING = `
Every sector is written again, under a data key that nobody had before: what rewrap cannot do. It
can be killed at any moment, and the same command goes on. An old copy of the file still opens by
the old data key: to be rid of that, take the old key, or its version, away in its KMS.`;

export function register(program: Command): void {
  const command = program
    .command('rekey')
    .description('give a disk that is not attached another data key, or go on with that after a crash')
    .argument('<disk>', OBJECT)
    .option('--key <uri>', 'wrap the new data key under this key; else under that of the old one')
    .addHelpText('after', MEANING);
  common(command, 'sealdisk rekey data.disk').action(
    action(async (word: string, options: Options) => {
      const path = await objectPath(word, options);
      await mayRekey(path, options);
      const made = await withProgress(word, options.json ?? false, (how) =>
        rekey(path, keysOf(options), { ...how, timeoutMs: KMS_TIMEOUT_MS }),
      );
      printConverted(made, options);
    }),
  );
}

/** May the caller have such a disk, under the key that it is to get? What has begun is gone on with. POLICY_DENIED. */
async function mayRekey(path: string, options: Options): Promise<void> {
  try {
    const { token } = await readDisk(path);
    const { name, source, tags } = token;
    const toBe = { kind: token.object.kind, name, source, tags, keyUri: options.key ?? token.keyUri };
    await mayMake('ecs:CreateDisk', toBe, environmentOf(options));
  } catch (error) {
    if (!isFailure(error, 'CONVERT_UNFINISHED')) throw error;
  }
}
