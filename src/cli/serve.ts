/** sealdisk serve: a disk on a socket, for any NBD client. */

import { resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { serve } from '../attach/serve.js';
import { fail } from '../errors.js';
import { canonicalKeyUri } from '../kms/uri.js';
import { openLog } from '../log.js';
import type { ListenAddress } from '../nbd/server.js';
import {
  absolute,
  action,
  type CommonOptions,
  checkLeaseOptions,
  common,
  type LeaseOptions,
  leaseOptions,
} from './context.js';
import { printJson, printLine } from './output.js';

interface Options extends CommonOptions, LeaseOptions {
  readonly socket?: string;
  readonly listen?: ListenAddress;
  readonly exportName: string;
}

function parseListen(text: string): ListenAddress {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:]*)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (!match || port > 65_535) throw new InvalidArgumentError('Expected HOST:PORT or [IPV6]:PORT.');
  return { host: match[1] ?? (match[2] || '0.0.0.0'), port };
}

export function register(program: Command): void {
  const command = program
    .command('serve')
    .description('serve a disk to NBD clients until SIGTERM or SIGINT; prints its NBD URI when it is ready')
    .argument('<disk>', 'file or block device made by sealdisk create')
    .option('--socket <path>', 'listen on a unix socket')
    .option('--listen <host:port>', 'listen on TCP (the payload is not encrypted on the wire)', parseListen)
    .option('--export-name <name>', 'name of the export', '');
  common(leaseOptions(command), 'sealdisk serve data.disk --socket /tmp/data.sock').action(
    action(async (disk: string, options: Options) => {
      checkLeaseOptions(options);
      if ((options.socket === undefined) === (options.listen === undefined)) {
        fail('USAGE', { what: 'found neither or both of --socket and --listen, expected one' });
      }
      const serving = await serve(
        {
          path: absolute(disk),
          poolDir: resolve(options.pool),
          listen: options.listen ?? { path: resolve(options.socket ?? '') },
          exportName: options.exportName,
          logLevel: options.logLevel,
          readOnly: options.readOnly ?? false,
          direct: options.direct ?? false,
          discard: options.discard ?? false,
          expectedKey: options.key === undefined ? null : canonicalKeyUri(options.key),
          kmsWaitMs: options.kmsWait,
          takeover: false,
          terms: {
            onKeyLoss: options.onKeyLoss,
            checkIntervalMs: options.keyCheckInterval,
            graceMs: options.kmsGrace ?? Number.POSITIVE_INFINITY,
          },
        },
        openLog(options.logLevel),
      );
      const ended = untilSignal();
      if (options.json) printJson({ uri: serving.uri, pid: process.pid });
      else printLine(serving.uri);
      await ended;
      await serving.close();
    }),
  );
}

/** Resolves at the first SIGTERM or SIGINT; the second one ends the process as usual. */
function untilSignal(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve());
  });
}
