/** The caller's side: the words of a command line to the daemon, what it answers to the output, the exit code. */

import { connect } from 'node:net';
import { errnoOf, SealdiskError } from '../errors.js';
import { decodeFrame, encodeRequest, type Frame, type Request } from './protocol.js';

/** Resolves with the exit code of the command. Fails with DAEMON_CONNECTION. */
export function askDaemon(
  path: string,
  request: Request,
  tell: (frame: Exclude<Frame, { exit: number }>) => void,
): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    let rest = '';
    let code: number | undefined;
    let errno = 'it ended before the command did';
    socket.setEncoding('utf8');
    socket.on('connect', () => socket.write(encodeRequest(request)));
    socket.on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const frame = decodeFrame(line);
        if ('exit' in frame) code = frame.exit;
        else tell(frame);
      }
    });
    socket.on('error', (error) => {
      errno = errnoOf(error);
    });
    socket.on('close', () => {
      if (code === undefined) reject(new SealdiskError('DAEMON_CONNECTION', { path, errno }));
      else resolve(code);
    });
  });
}
