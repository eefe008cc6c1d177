#!/usr/bin/env node
/** The program `sealdisk`: a command line, carried out here or by the daemon. */

import { byDaemon } from './route.js';

async function main(words: readonly string[]): Promise<void> {
  if (await byDaemon(words)) return;
  const { runProgram } = await import('./program.js');
  await runProgram(words);
}

void main(process.argv.slice(2));
