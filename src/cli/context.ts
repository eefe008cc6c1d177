/** Options that every command shares, and how each command ends. */

import { resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { indexOf } from '../attach/kernel-device.js';
import { catalogued, fail, isFailure } from '../errors.js';
import type { ProviderEnvironment } from '../kms/provider.js';
import { resolveObject } from '../pool/resolve.js';
import { DEFAULT_POOL } from './default-pool.js';
import { printFailure } from './output.js';
import { parseDuration, parseDurationOrForever } from './units.js';

export interface CommonOptions {
  readonly pool: string;
  readonly json?: boolean;
  readonly verbose?: boolean;
  readonly logLevel: string;
}

/** Options of the commands that hold a key while they serve. */
export interface LeaseOptions {
  readonly onKeyLoss: 'hang' | 'fail' | 'keep';
  readonly keyCheckInterval: number;
  readonly kmsGrace: number | null;
  readonly kmsWait: number;
  readonly readOnly?: boolean;
  readonly direct?: boolean;
  readonly discard?: boolean;
  readonly key?: string;
}

/** Adds the shared options, and the example that --help ends with. */
export function common(command: Command, example: string): Command {
  return command
    .addOption(
      new Option('--pool <dir>', 'folder of disks and of the embedded KMS')
        .env('SEALDISK_POOL')
        .default(DEFAULT_POOL),
    )
    .option('--json', 'print JSON')
    .option('-v, --verbose', 'show the cause of an error')
    .addOption(
      new Option('--log-level <level>', 'least level that is logged')
        .choices(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'])
        .default('info'),
    )
    .addHelpText('after', `\nExample:\n  ${example.split('\n').join('\n  ')}`);
}

export function leaseOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--on-key-loss <policy>', 'what I/O does while the key is revoked')
        .choices(['hang', 'fail', 'keep'])
        .default('hang'),
    )
    .option(
      '--key-check-interval <time>',
      'how often the KMS is asked about the key',
      argument(parseDuration),
      5_000,
    )
    .option(
      '--kms-grace <time>',
      'how long an unreachable KMS is borne, or forever',
      argument(parseDurationOrForever),
      3_600_000,
    )
    .option(
      '--kms-wait <time>',
      'how long to wait at the start for an unreachable KMS',
      argument(parseDuration),
      30_000,
    )
    .option('--read-only', 'serve no writes and write nothing')
    .option('--direct', 'open the file with O_DIRECT')
    .option('--discard', 'let TRIM and zeroing punch holes, which show which blocks are in use')
    .option('--key <uri>', 'refuse a disk that another key wraps than this one');
}

/** Fails with USAGE where one option takes away what the other asks for. */
export function checkLeaseOptions(options: LeaseOptions): void {
  if (options.discard && options.readOnly)
    fail('USAGE', { what: '--discard writes, --read-only forbids it' });
}

/** Makes one of our parsers an argument parser of commander: its error names the option. */
export function argument<T>(parse: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return parse(text);
    } catch (error) {
      if (isFailure(error)) throw new InvalidArgumentError(`${error.message}; ${error.remedy}.`);
      throw error;
    }
  };
}

/** A parser of whole numbers from 1 to `max`. */
export function countUpTo(max: number): (text: string) => number {
  return (text) => {
    const count = /^\d{1,9}$/.test(text) ? Number(text) : 0;
    if (count < 1 || count > max) throw new InvalidArgumentError(`Expected a number from 1 to ${max}.`);
    return count;
  };
}

/** The path of the object that the user named: of the pool, by its name or id, or any by its path. DISK_NOT_FOUND. */
export const objectPath = (word: string, options: CommonOptions): Promise<string> =>
  resolveObject(word, resolve(options.pool));

/** As `objectPath`, and /dev/nbdN stays as it is. */
export const objectOrDevice = async (word: string, options: CommonOptions): Promise<string> =>
  indexOf(word) === undefined ? objectPath(word, options) : word;

/** What commands that take an object say of their argument. */
export const OBJECT = 'name or id of an object of the pool, or a path';
export const OBJECT_OR_DEVICE = `${OBJECT}, or /dev/nbdN`;

export const environmentOf = (options: CommonOptions): ProviderEnvironment => ({
  poolDir: resolve(options.pool),
  env: process.env,
});

/** Runs a command's action; an error becomes one line and an exit code. */
export function action<A extends unknown[]>(
  run: (...args: A) => Promise<void>,
): (...args: A) => Promise<void> {
  return async (...args) => {
    try {
      await run(...args);
    } catch (error) {
      const failure = catalogued(error);
      const command = args.at(-1) as Command | undefined;
      printFailure(failure, command?.opts<CommonOptions>().verbose === true);
      process.exitCode = failure.exitCode;
    }
  };
}
