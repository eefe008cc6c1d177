/**
 * A disk under `sealdisk serve`, with libnbd (nbdsh) as its client: requests one at a time, each answered with 'ok' or the
 * name of the errno that came back on the wire.
 *
 * Kept true: server and client end with their test.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface, type Interface } from 'node:readline';
import type { Test } from 'tap';

const MAIN = 'dist/bin/sealdisk.cjs';

/** Payloads are one byte repeated: what is read is told as that byte, as 'mixed', or as the errno. */
const DRIVER = `
import sys, nbd
def connect(uri):
    global h
    h = nbd.NBD()
    h.set_strict_mode(0)
    h.connect_uri(uri)
    return "ok"
def told(data):
    return chr(data[0]) if data.count(data[0:1]) == len(data) and 97 <= data[0] <= 122 else "mixed"
def act(verb, offset=0, length=0, fill="", fua=""):
    if verb == "connect": return connect(offset)
    offset, length, flags = int(offset), int(length), nbd.CMD_FLAG_FUA if fua else 0
    if verb == "write": h.pwrite(fill.encode() * length, offset, flags)
    if verb == "zero": h.zero(length, offset, flags)
    if verb == "flush": h.flush()
    return told(h.pread(length, offset)) if verb == "read" else "ok"
for line in sys.stdin:
    try: print(act(*line.split()), flush=True)
    except nbd.Error as e: print(e.errno, flush=True)
`;

/** The lines of a stream, one by one. */
class Lines {
  readonly #waiting: ((line: string | undefined) => void)[] = [];
  readonly #lines: string[] = [];
  #ended = false;

  constructor(input: Interface) {
    input.on('line', (line) => {
      const waiter = this.#waiting.shift();
      if (waiter) waiter(line);
      else this.#lines.push(line);
    });
    input.on('close', () => {
      this.#ended = true;
      for (const waiter of this.#waiting.splice(0)) waiter(undefined);
    });
  }

  async next(what: string): Promise<string> {
    const line =
      this.#lines.shift() ??
      (this.#ended ? undefined : await new Promise((resolve) => this.#waiting.push(resolve)));
    if (line === undefined) throw new Error(`${what}: the process ended`);
    return line as string;
  }
}

function started(t: Test, command: string, args: string[], env = process.env) {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], env });
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text;
  });
  t.teardown(() => ended(child, 'SIGKILL'));
  return { child, lines: new Lines(createInterface({ input: child.stdout })), errors: () => errors };
}

async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  child.kill(signal);
  const [code] = await once(child, 'exit');
  return code as number | null;
}

export interface ServeChild {
  readonly uri: string;
  readonly pid: number;
  /** What it has logged. */
  log(): string;
  /** SIGTERM; its exit code. */
  stop(): Promise<number | null>;
}

/** `sealdisk serve`, ready. `env` adds to the environment. */
export async function served(
  t: Test,
  path: string,
  options: readonly string[] = [],
  env: NodeJS.ProcessEnv = {},
): Promise<ServeChild> {
  const socket = `/run/serve-${process.pid}-${performance.now().toFixed(0)}.sock`;
  const args = [MAIN, 'serve', path, '--socket', socket, ...options];
  const { child, lines, errors } = started(t, process.execPath, args, { ...process.env, ...env });
  const uri = await lines.next('sealdisk serve').catch((error) => {
    throw new Error(`${error.message}\n${errors()}`);
  });
  return { uri, pid: child.pid ?? 0, log: errors, stop: () => ended(child, 'SIGTERM') };
}

/** One libnbd client, which connects where it is told; a process start is dear in a guest. */
export class NbdShell {
  readonly #child: ChildProcess;
  readonly #lines: Lines;
  readonly #errors: () => string;

  constructor(t: Test) {
    // libnbd's Python module belongs to the system's Python.
    const env = { ...process.env, PATH: `/usr/bin:${process.env.PATH}` };
    const { child, lines, errors } = started(t, 'nbdsh', ['-c', DRIVER], env);
    this.#child = child;
    this.#lines = lines;
    this.#errors = errors;
  }

  /** Leaves the connection that it has. */
  async connect(uri: string): Promise<void> {
    const answer = await this.#ask(`connect ${uri}`);
    if (answer !== 'ok') throw new Error(`nbdsh: connect ${uri}: ${answer}`);
  }

  write = (offset: number, length: number, fill: string) => this.#ask(`write ${offset} ${length} ${fill}`);
  writeFua = (offset: number, length: number, fill: string) =>
    this.#ask(`write ${offset} ${length} ${fill} fua`);
  zero = (offset: number, length: number) => this.#ask(`zero ${offset} ${length}`);
  flush = () => this.#ask('flush');
  /** The byte that all of it is, 'mixed', or the errno. */
  read = (offset: number, length: number) => this.#ask(`read ${offset} ${length}`);

  async #ask(line: string): Promise<string> {
    this.#child.stdin?.write(`${line}\n`);
    return this.#lines.next(line).catch((error) => {
      throw new Error(`${error.message}\n${this.#errors()}`);
    });
  }
}
