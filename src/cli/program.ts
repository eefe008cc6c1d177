/** The command line: wires the commands, each in a file of its own. Only the command that is asked for is loaded. */

import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { EXIT_CODES } from '../errors.js';
import { watchOutput } from './output.js';

interface CommandFile {
  register(program: Command): void;
}

const COMMANDS: Readonly<Record<string, () => Promise<CommandFile>>> = {
  create: () => import('./create.js'),
  encrypt: () => import('./encrypt.js'),
  import: () => import('./import.js'),
  attach: () => import('./attach.js'),
  detach: () => import('./detach.js'),
  resize: () => import('./resize.js'),
  rekey: () => import('./rekey.js'),
  rewrap: () => import('./rewrap.js'),
  recover: () => import('./recover.js'),
  list: () => import('./list.js'),
  info: () => import('./info.js'),
  rename: async () => ({ register: (await import('./labels.js')).registerRename }),
  tag: async () => ({ register: (await import('./labels.js')).registerTag }),
  delete: () => import('./delete.js'),
  snapshot: () => import('./snapshot.js'),
  image: () => import('./image.js'),
  verify: () => import('./verify.js'),
  serve: () => import('./serve.js'),
  key: () => import('./key.js'),
  kms: () => import('./kms.js'),
  policy: () => import('./policy.js'),
  daemon: () => import('./daemon.js'),
  'export-data-key': () => import('./export-data-key.js'),
};

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

/** Carries out what the words ask for; the exit code is the process's. */
export async function runProgram(words: readonly string[]): Promise<void> {
  const program = new Command('sealdisk')
    .description('Encrypted block devices whose keys live in a KMS')
    .version(version)
    .showSuggestionAfterError()
    .configureOutput({
      outputError: (text, write) => write(text.replace(/^error: /, 'sealdisk: ')),
    })
    .exitOverride((exit) => process.exit(exit.exitCode === 0 ? 0 : EXIT_CODES.usage));
  watchOutput();
  const asked = words[0] ?? '';
  const wanted = Object.hasOwn(COMMANDS, asked) ? [asked] : Object.keys(COMMANDS);
  for (const name of wanted) (await COMMANDS[name]?.())?.register(program);
  await program.parseAsync(words, { from: 'user' });
}
