/**
 * The command line for a caller of the daemon: a program that only the daemon starts.
 *
 * It takes who the caller is, and what is to be done, from its parent over the channel that it was started with; not from
 * words, variables or files, which a user could set. Whoever else starts it does so with rights of his own.
 */

import { once } from 'node:events';
import { wordsFor } from '../daemon/guest.js';
import type { Errand } from '../daemon/run.js';
import { catalogued } from '../errors.js';
import { callerOf, setCaller } from '../policy/caller.js';
import { printFailure } from './output.js';
import { runProgram } from './program.js';

async function main(): Promise<void> {
  if (process.send === undefined) return void process.stderr.write('sealdisk: only its daemon starts this\n');
  const [{ uid, plan, house }] = (await once(process, 'message')) as [Errand];
  process.disconnect();
  try {
    const caller = callerOf(uid, true);
    setCaller(caller);
    await runProgram(await wordsFor(plan, caller, house));
  } catch (error) {
    const failure = catalogued(error);
    printFailure(failure, false);
    process.exitCode = failure.exitCode;
  }
}

void main();
