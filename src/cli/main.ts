#!/usr/bin/env node
/** The command line: wires the commands, each in a file of its own. */

import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { EXIT_CODES } from '../errors.js';
import * as attach from './attach.js';
import * as create from './create.js';
import * as detach from './detach.js';
import * as exportDataKey from './export-data-key.js';
import * as info from './info.js';
import * as key from './key.js';
import * as list from './list.js';
import * as serve from './serve.js';

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

const program = new Command('sealdisk')
  .description('Encrypted block devices whose keys live in a KMS')
  .version(version)
  .showSuggestionAfterError()
  .configureOutput({
    outputError: (text, write) => write(text.replace(/^error: /, 'sealdisk: ')),
  })
  .exitOverride((exit) => process.exit(exit.exitCode === 0 ? 0 : EXIT_CODES.usage));

for (const command of [create, attach, detach, list, info, serve, key, exportDataKey])
  command.register(program);
await program.parseAsync();
