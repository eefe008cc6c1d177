/** Entry of the supervisor process: `supervisor-main.cjs REQUEST-JSON`, with an IPC channel to the attach command. */

import { catalogued } from '../errors.js';
import { openLog } from '../log.js';
import type { AttachRequest } from './state.js';
import { type ServerReport, supervise } from './supervisor.js';

const request = JSON.parse(process.argv[2] ?? '') as AttachRequest;
const log = openLog(request.logLevel);

/** The command that waits hears the outcome, and is free to go. */
function report(outcome: ServerReport): void {
  if (!process.connected || !process.send) return;
  process.send(outcome, () => {
    if (process.connected) process.disconnect();
  });
}

for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM'] as const) process.on(signal, () => {});

async function main(): Promise<void> {
  try {
    await supervise(request, log, report);
  } catch (error) {
    const failure = catalogued(error);
    log.error({ event: 'supervisor_failed', code: failure.code, err: failure.cause }, failure.message);
    report({ kind: 'failed', error: failure.toJSON() as never });
    process.exitCode = failure.exitCode;
  }
}

void main();
