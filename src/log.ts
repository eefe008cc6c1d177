/** Logs: pino JSON on standard error, pretty on a terminal. No key, token or payload is ever logged. */

import { createRequire } from 'node:module';
import type Pino from 'pino';

// By require(): `import` of a CommonJS package compiles a lexer first, which takes longer than the package.
const require = createRequire(import.meta.url);
const pino = require('pino') as typeof Pino;

export type Log = Pino.Logger;

/** `level` is one of pino's names. Written synchronously, so that the last words before a crash are there. */
export function openLog(level: string): Log {
  if (process.stderr.isTTY) {
    const pretty = require('pino-pretty');
    return pino({ level }, pretty({ destination: 2, sync: true, ignore: 'pid,hostname' }));
  }
  return pino({ level, base: { pid: process.pid } }, pino.destination({ fd: 2, sync: true }));
}
