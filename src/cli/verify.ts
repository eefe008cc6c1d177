/** sealdisk verify: shows that what lies on the storage under a disk is encrypted. */

import type { Command } from 'commander';
import { testKey } from '../attach/test-key.js';
import { readObject } from '../disk/object.js';
import { CHI_SQUARE_LIMIT } from '../disk/sampling.js';
import { type Verified, verifyObject } from '../disk/verify.js';
import { fail } from '../errors.js';
import {
  action,
  type CommonOptions,
  common,
  countUpTo,
  environmentOf,
  OBJECT,
  objectPath,
} from './context.js';
import { confirm, printFields, printJson, printLine, printNote } from './output.js';
import { formatSize } from './units.js';

interface Options extends CommonOptions {
  readonly samples: number;
  readonly testKey?: boolean;
  readonly yes?: boolean;
}

const SAMPLES_MAX = 1_000_000;

const MEANING = `
Samples of 64 KiB are read from the file, in service or not: noise has each byte as often as every
other, no block twice, no text and no mark of a file system. Compressed data can look like noise, so
samples are also deciphered, where the key can be had, and must come out as something else.
Exit code 0: encrypted. 4: plain, or doubtful.

--test-key opens the disk, disables its key, shows that the disk cannot be opened, and enables the key
again. It asks first, and refuses while anything under that key is in service. If it is killed in
between, the key stays disabled: sealdisk key enable.`;

export function register(program: Command): void {
  const command = program
    .command('verify')
    .description('show that what lies on the storage under a disk, snapshot or image is encrypted')
    .argument('<object>', OBJECT)
    .option('--samples <n>', 'how many samples are read, about', countUpTo(SAMPLES_MAX), 256)
    .option('--test-key', 'show that it cannot be opened while its key is disabled')
    .option('--yes', 'do not ask')
    .addHelpText('after', MEANING);
  common(command, 'sealdisk verify data').action(
    action(async (word: string, options: Options) => {
      const path = await objectPath(word, options);
      const object = await readObject(path);
      const found = await verifyObject(object, options.samples, environmentOf(options));
      const keyTest = options.testKey ? await keyTested(path, options) : null;
      const { kind, id } = object.label.object;
      const key = object.encrypted?.token.keyUri ?? null;
      if (options.json) printJson({ path, kind, id, keyUri: key, ...found, keyTest });
      else print(path, found, key);
      const { verdict, why } = found;
      if (verdict !== 'encrypted') fail('DISK_NOT_ENCRYPTED', { path, verdict, why });
    }),
  );
}

async function keyTested(path: string, options: Options): Promise<{ keyUri: string; refusal: string }> {
  const { keyUri, refusal } = await testKey(path, environmentOf(options), async (uri) => {
    await confirm('verify --test-key', `Disable ${uri} for a moment?`, options.yes ?? false);
    printNote(`${uri} is disabled for a moment; if this is killed: sealdisk key enable ${uri}`);
  });
  if (!options.json) printLine(`while ${keyUri} was disabled: ${refusal.message} [${refusal.code}]`);
  return { keyUri, refusal: refusal.code };
}

function print(path: string, found: Verified, keyUri: string | null): void {
  const { entropy, chiSquare, deciphered } = found;
  const bits = (value: number) => value.toFixed(4);
  printFields({
    verdict: `${found.verdict}: ${found.why}`,
    file: path,
    key: keyUri ?? 'none',
    samples: `${found.samples} of 64 KiB, ${formatSize(BigInt(found.sampledBytes))}`,
    entropy: entropy ? `${bits(entropy.mean)} bits per byte, the least ${bits(entropy.least)} of 8` : '',
    'chi-square':
      chiSquare === null ? '' : `at most ${Math.round(chiSquare)}; noise is below ${CHI_SQUARE_LIMIT}`,
    'zero blocks': found.zeroBlocks > 0 ? `${found.zeroBlocks}, which are no holes` : 'none that is no hole',
    deciphered:
      'why' in deciphered
        ? `not: ${deciphered.why}`
        : `${deciphered.samples} samples, ${deciphered.same} came out as they lie there`,
  });
  for (const { atBytes, what } of found.findings) printLine(`at byte ${atBytes}: ${what}`);
}
