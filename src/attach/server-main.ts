/** Entry of the server process: `server-main.js REQUEST-JSON first|takeover`, with an IPC channel to its supervisor. */

import { catalogued } from '../errors.js';
import { openLog } from '../log.js';
import { AttachmentServer } from './server.js';
import type { AttachRequest } from './state.js';
import type { ServerReport } from './supervisor.js';

const request = JSON.parse(process.argv[2] ?? '') as AttachRequest;
const takeover = process.argv[3] === 'takeover';
const log = openLog(request.logLevel);

/** Tells the supervisor, when it is still there. */
function report(message: ServerReport): Promise<void> {
  return new Promise((resolve) => {
    if (!process.connected || !process.send) return resolve();
    process.send(message, () => resolve());
  });
}

// The attachment outlives its supervisor, and is ended by detach alone.
process.on('disconnect', () => log.warn({ event: 'supervisor_gone' }, 'the supervisor is gone'));
for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () =>
    log.warn({ event: 'signal', signal }, `${signal} is ignored: use sealdisk detach`),
  );
}

try {
  const { state } = await AttachmentServer.start(request, takeover, log, () => process.exit(0));
  await report({ kind: 'ready', state });
} catch (error) {
  const failure = catalogued(error);
  log.error({ event: 'server_failed', code: failure.code, err: failure.cause }, failure.message);
  await report({ kind: 'failed', error: failure.toJSON() as never });
  process.exit(failure.exitCode);
}
