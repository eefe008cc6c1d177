/** What the commands of keys share. */

import { join } from 'node:path';
import type { Command } from 'commander';
import type { KeyInfo } from '../kms/local/info.js';
import { LocalKms } from '../kms/local/local-kms.js';
import { action, type CommonOptions, common, environmentOf } from './context.js';
import { printJson, printLine } from './output.js';

export type Register = (group: Command) => void;

export const kmsOf = (options: CommonOptions) => LocalKms.open(join(environmentOf(options).poolDir, 'kms'));

/** An alias as people type it: `bar` is `alias/bar`. */
export const aliasName = (text: string): string => (text.startsWith('alias/') ? text : `alias/${text}`);

/** A command on one key of the embedded KMS, and what it does. */
export interface KeyCommand<Options extends CommonOptions> {
  readonly name: string;
  readonly says: string;
  readonly example: string;
  readonly options?: (command: Command) => Command;
  /** The key after it, which is shown. */
  readonly run: (kms: LocalKms, uri: string, options: Options) => Promise<KeyInfo>;
}

export function keyCommand<Options extends CommonOptions>(command: KeyCommand<Options>): Register {
  const { name, says, example, options = (same) => same, run } = command;
  return (group) => {
    const made = group
      .command(name)
      .description(says)
      .argument('<uri>', 'local:alias/NAME, alias/NAME or a key id');
    common(options(made), `sealdisk key ${name} ${example}`).action(
      action(async (uri: string, given: Options) => report(await run(kmsOf(given), uri, given), given)),
    );
  };
}

function report(key: KeyInfo, options: CommonOptions): void {
  if (options.json) printJson(key);
  else
    printLine(
      `${key.keyId} is ${key.state}${key.deletionDate === null ? '' : `, gone at ${key.deletionDate}`}`,
    );
}
