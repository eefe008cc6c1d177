/**
 * A caller's command as a process: the command line itself, started by the program that takes its words from its parent
 * (src/cli/for-caller.ts), and from nowhere else.
 */

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { SealdiskError } from '../errors.js';
import type { Plan } from './commands.js';
import type { House } from './guest.js';
import type { Frame } from './protocol.js';

const PROGRAM = fileURLToPath(new URL('../../dist/bin/for-caller.cjs', import.meta.url));

/** What the process is told, over the channel that only its parent has. */
export interface Errand {
  /** The caller, as the kernel knows it. */
  readonly uid: number;
  readonly plan: Plan;
  readonly house: House;
}

export interface Running {
  readonly child: ChildProcess;
  /** Hears the output as it comes. */
  onText(tell: (frame: Frame) => void): void;
  readonly ended: Promise<End>;
}

export interface End {
  readonly code: number;
  readonly says: string;
  /** What the caller is told, where the command did not come to tell it. */
  readonly failure?: SealdiskError;
}

/** Variables that speak of the daemon's own start, not of what it runs. */
const OWN = ['NOTIFY_SOCKET', 'LISTEN_FDS', 'LISTEN_PID', 'LISTEN_FDNAMES', 'WATCHDOG_USEC', 'WATCHDOG_PID'];

export function startCommand(errand: Errand): Running {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !OWN.includes(name)));
  const child = fork(PROGRAM, [], { stdio: ['ignore', 'pipe', 'pipe', 'ipc'], cwd: '/', env });
  child.stdout?.setEncoding('utf8');
  child.stderr?.setEncoding('utf8');
  child.send(errand, () => undefined); // one that has died already ends as such
  return {
    child,
    onText: (tell) => {
      child.stdout?.on('data', (out: string) => tell({ out }));
      child.stderr?.on('data', (err: string) => tell({ err }));
    },
    ended: endOf(child),
  };
}

/** When it has ended and all that it wrote has been read. */
async function endOf(child: ChildProcess): Promise<End> {
  try {
    const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
    if (code !== null) return { code, says: `exit code ${code}` };
    return failed(`it was ended by ${signal}`);
  } catch (error) {
    return failed(`it could not be started: ${(error as Error).message}`);
  }
}

function failed(what: string): End {
  const failure = new SealdiskError('INTERNAL', { what });
  return { code: failure.exitCode, says: what, failure };
}
