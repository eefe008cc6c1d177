/**
 * Entry of the server process: `server-main.cjs REQUEST-JSON`, with an IPC channel to its supervisor.
 *
 * It loads everything and stands by, without a key, until the supervisor says how to start.
 */

import { engine } from '../engine/engine.js';
import { catalogued } from '../errors.js';
import { openLog } from '../log.js';
import { AttachmentServer } from './server.js';
import type { AttachRequest } from './state.js';
import type { ServerReport, ServerStart } from './supervisor.js';

const request = JSON.parse(process.argv[2] ?? '') as AttachRequest;
/** The OOM killer never chooses the process that writeback needs. */
const OOM_SCORE_ADJ = -1000;

const log = openLog(request.logLevel);

/** Tells the supervisor, when it is still there. */
function report(message: ServerReport): Promise<void> {
  return new Promise((resolve) => {
    if (!process.connected || !process.send) return resolve();
    process.send(message, () => resolve());
  });
}

/** Resolves when the supervisor says how; never when it goes away first, which ends a process that stands by. */
const told = new Promise<ServerStart>((resolve) => {
  const leave = () => process.exit(0);
  process.once('disconnect', leave);
  process.once('message', (start: ServerStart) => {
    process.off('disconnect', leave);
    resolve(start);
  });
});

for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () =>
    log.warn({ event: 'signal', signal }, `${signal} is ignored: use sealdisk detach`),
  );
}

async function main(): Promise<void> {
  try {
    engine().protectProcess({ lockMemory: true, oomScoreAdj: OOM_SCORE_ADJ });
    const takeover = (await told) === 'takeover';
    // From here on the attachment outlives its supervisor, and is ended by detach alone.
    process.on('disconnect', () => log.warn({ event: 'supervisor_gone' }, 'the supervisor is gone'));
    const { state } = await AttachmentServer.start(request, takeover, log, () => process.exit(0));
    await report({ kind: 'ready', state });
  } catch (error) {
    const failure = catalogued(error);
    log.error({ event: 'server_failed', code: failure.code, err: failure.cause }, failure.message);
    await report({ kind: 'failed', error: failure.toJSON() as never });
    process.exit(failure.exitCode);
  }
}

void main();
