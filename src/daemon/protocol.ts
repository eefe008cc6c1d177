/**
 * What goes over the daemon's socket: one line of JSON from the caller, lines of JSON back, the last one with the exit
 * code. Nothing in it says who the caller is: that the kernel says.
 */

import { fail, type SealdiskError } from '../errors.js';
import { isObject, readJson } from '../json.js';
import { REQUEST_MAX_BYTES } from './limits.js';

export const DAEMON_SOCKET = '/run/sealdisk/daemon.sock';
const VERSION = 1;

export interface Request {
  readonly words: readonly string[];
  /** The pool that the caller means. */
  readonly pool: string;
}

/** Text for the caller's output or error output, as it comes; or the end. */
export type Frame = { readonly out: string } | { readonly err: string } | { readonly exit: number };

export const encodeRequest = (request: Request): string =>
  `${JSON.stringify({ version: VERSION, ...request })}\n`;

export const encodeFrame = (frame: Frame): string => `${JSON.stringify(frame)}\n`;

/** The line of a failed command, as the command line prints it. */
export const failureFrame = ({ message, remedy, code }: SealdiskError): Frame => ({
  err: `sealdisk: ${message}; ${remedy} [${code}]\n`,
});

const refuse = (what: string): never => fail('DAEMON_REFUSED', { what });

/** Fails with DAEMON_REFUSED. */
export function decodeRequest(line: string): Request {
  if (Buffer.byteLength(line) > REQUEST_MAX_BYTES)
    refuse(`a request of more than ${REQUEST_MAX_BYTES} bytes`);
  const json = readJson(line, (why) => refuse(`a request that is no JSON: ${why}`));
  if (!isObject(json) || json.version !== VERSION)
    return refuse(`a request that is not of version ${VERSION}`);
  const { words, pool, ...others } = json;
  const [other] = Object.keys(others).filter((name) => name !== 'version');
  if (other !== undefined) refuse('a request with a field that is not known');
  const texts = Array.isArray(words) ? words.filter((word) => typeof word === 'string') : [];
  if (!Array.isArray(words) || texts.length !== words.length || typeof pool !== 'string')
    return refuse('a request without words and pool');
  return { words: texts, pool };
}

export const decodeFrame = (line: string): Frame => JSON.parse(line) as Frame;
