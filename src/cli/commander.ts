/** commander, by require(): `import` of a CommonJS package compiles a lexer first, which takes longer than the package. */

import { createRequire } from 'node:module';
import type * as commander from 'commander';

export const { Command, InvalidArgumentError, Option } = createRequire(import.meta.url)(
  'commander',
) as typeof commander;
export type Command = commander.Command;
export type Option = commander.Option;
