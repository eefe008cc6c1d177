/** sealdisk daemon: the pool, for users who are not root. */

import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { live } from '../attach/serve/life.js';
import { inheritedSockets, openNotify } from '../attach/serve/systemd.js';
import { startDaemon } from '../daemon/daemon.js';
import { DAEMON_SOCKET } from '../daemon/protocol.js';
import { fail } from '../errors.js';
import { canonicalKeyUri } from '../kms/registry.js';
import { openLog } from '../log.js';
import { action, argument, type CommonOptions, common } from './context.js';
import { printJson, printLine } from './output.js';

interface Options extends CommonOptions {
  readonly socket: string;
  readonly allowKey: readonly string[];
}

const collectKey = (text: string, all: readonly string[]): string[] => [
  ...all,
  argument(canonicalKeyUri)(text),
];

export function register(program: Command): void {
  const command = program
    .command('daemon')
    .description(
      'own the pool and do for its users what policies allow, until SIGTERM or SIGINT; prints its socket',
    )
    .addOption(
      new Option('--socket <path>', 'where users reach it').env('SEALDISK_DAEMON').default(DAEMON_SOCKET),
    )
    .option(
      '--allow-key <uri>',
      "a key outside the pool's own KMS that users may name; may be given again",
      collectKey,
      [],
    );
  common(command, 'sealdisk daemon --socket /run/sealdisk/daemon.sock').action(
    action(async (options: Options) => {
      if (process.getuid?.() !== 0) fail('ATTACH_NOT_ROOT', { what: 'daemon' });
      const log = openLog(options.logLevel);
      const [inherited] = inheritedSockets(process.env, process.pid);
      const asked = {
        poolDir: resolve(options.pool),
        listen: inherited ?? { path: resolve(options.socket) },
        allowedKeys: options.allowKey,
      };
      await live({
        start: () => startDaemon(asked, log),
        announce: ({ address }) =>
          options.json ? printJson({ socket: address, pid: process.pid }) : printLine(address),
        notify: openNotify(process.env, log),
        log,
      });
    }),
  );
}
