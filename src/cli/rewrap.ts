/** sealdisk rewrap: data keys under the newest version of their key, or under another key; the data stays as it is. */

import type { Command } from 'commander';
import { type RewrapOutcome, rewrap, rewrapAll } from '../attach/rewrap.js';
import type { Rewrapped, RewrapWish } from '../disk/rewrap.js';
import { about, fail } from '../errors.js';
import { canonicalKeyUri } from '../kms/registry.js';
import {
  action,
  type CommonOptions,
  common,
  environmentOf,
  OBJECT_OR_DEVICE,
  objectOrDevice,
} from './context.js';
import { confirm, printJson, printLine } from './output.js';

interface Options extends CommonOptions {
  readonly all?: boolean;
  readonly key?: string;
  readonly force?: boolean;
  readonly yes?: boolean;
}

const MEANING = `
The data key of the disk stays the same, with --key too: only what wraps it changes. Who has
the data key by now still reads the disk, and an old copy of the header still opens by the key,
or the version, that wrapped it then.`;

export function register(program: Command): void {
  const command = program
    .command('rewrap')
    .description(
      "wrap a disk's data key under the newest version of its key, attached or not; no data is touched",
    )
    .argument('[disk|device]', OBJECT_OR_DEVICE)
    .option('--all', 'every disk of the pool')
    .option('--key <uri>', 'wrap it under this key from now on, in the place of its own')
    .option(
      '--force',
      'write a new wrapping of the same version, too, where a KMS does not tell its versions',
    )
    .option('--yes', 'do not ask, with --all and --key')
    .addHelpText('after', MEANING);
  common(command, 'sealdisk rewrap data.disk').action(
    action(async (target: string | undefined, options: Options) => {
      const keyUri = options.key === undefined ? null : canonicalKeyUri(options.key);
      const wish = { keyUri, force: options.force ?? false };
      if ((target === undefined) !== (options.all === true)) {
        fail('USAGE', { what: 'expected a disk, or --all' });
      }
      if (target === undefined) return all(wish, options);
      const done = await rewrap(await objectOrDevice(target, options), wish, environmentOf(options));
      if (options.json) printJson(done);
      else printLine(lineOf(done));
    }),
  );
}

/** One line each; the exit code is that of the first failure. */
async function all(wish: RewrapWish, options: Options): Promise<void> {
  const { keyUri } = wish;
  if (keyUri !== null) {
    await confirm(
      'rewrap --all --key',
      `Wrap every disk of ${options.pool} under ${keyUri}?`,
      options.yes ?? false,
    );
  }
  const outcomes: RewrapOutcome[] = [];
  await rewrapAll(wish, environmentOf(options), (outcome) => {
    outcomes.push(outcome);
    if (!options.json) printLine('done' in outcome ? lineOf(outcome.done) : failureLine(outcome));
    if ('failure' in outcome) process.exitCode ??= outcome.failure.exitCode;
  });
  if (options.json) printJson(outcomes.map(factsOf));
}

function lineOf({ path, changed, keyUri, keyVersion, was }: Rewrapped): string {
  if (!changed)
    return `${path}: under the newest version (${keyVersion}) of ${keyUri} already, nothing written`;
  const before =
    was.keyUri === keyUri ? `version ${was.keyVersion}` : `version ${was.keyVersion} of ${was.keyUri}`;
  return `${path}: under version ${keyVersion} of ${keyUri}, was ${before}`;
}

function failureLine({ path, failure }: Extract<RewrapOutcome, { failure: unknown }>): string {
  const { message } = about(path, failure);
  return `${message}; ${failure.remedy} [${failure.code}]`;
}

const factsOf = (outcome: RewrapOutcome) =>
  'done' in outcome
    ? outcome.done
    : { path: outcome.path, error: { code: outcome.failure.code, message: outcome.failure.message } };
