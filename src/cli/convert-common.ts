/** What the commands that convert a disk share: which KMSs they may ask, and what they print. */

import type { Converted, Keys } from '../disk/in-place.js';
import { providerFor } from '../disk/provider.js';
import { DEFAULT_KEY_URI } from '../kms/local/ref.js';
import { openProvider } from '../kms/registry.js';
import { openLog } from '../log.js';
import { type CommonOptions, environmentOf } from './context.js';
import { printJson, printLine } from './output.js';
import { formatSize } from './units.js';

export const KMS_TIMEOUT_MS = 30_000;

interface KeyOptions extends CommonOptions {
  readonly key?: string;
}

/** `--key` names the key of what is new; without it a disk stays under its own, and a plain file goes under the default. */
export function keysOf(options: KeyOptions): Keys {
  const environment = environmentOf(options);
  const log = openLog(options.logLevel);
  return {
    forNew: (token) =>
      openProvider(options.key ?? token?.keyUri ?? DEFAULT_KEY_URI, {
        ...environment,
        namedByOwner: options.key !== undefined || token === undefined,
      }),
    forToken: (token, path) =>
      providerFor({ token, path }, { ...environment, expectedKey: null, kmsWaitMs: 0 }, log),
  };
}

export function printConverted(made: Omit<Converted, 'resumed'>, { json }: CommonOptions): void {
  if (json) printJson(made);
  else printLine(`${made.path}: ${formatSize(made.sizeBytes)}, uuid ${made.uuid}, key ${made.keyUri}`);
}
