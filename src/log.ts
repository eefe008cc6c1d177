/** Logs: pino JSON on standard error, pretty on a terminal. No key, token or payload is ever logged. */

import { createRequire } from 'node:module';
import { destination, type Logger, pino } from 'pino';

export type Log = Logger;

/** `level` is one of pino's names. Written synchronously, so that the last words before a crash are there. */
export function openLog(level: string): Log {
  if (process.stderr.isTTY) {
    const pretty = createRequire(import.meta.url)('pino-pretty'); // on a terminal only: it takes as long as all the rest
    return pino({ level }, pretty({ destination: 2, sync: true, ignore: 'pid,hostname' }));
  }
  return pino({ level, base: { pid: process.pid } }, destination({ fd: 2, sync: true }));
}
