/** sealdisk key rotate, rotation, import-parameters, import, delete-material: what a key wraps with. */

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { errnoOf, fail } from '../errors.js';
import { ROTATION_DAYS } from '../kms/local/cmk.js';
import { IMPORT_ALGORITHMS, IMPORT_SPECS, type ImportChoice } from '../kms/local/import.js';
import { action, type CommonOptions, common, countUpTo } from './context.js';
import { keyCommand, kmsOf, type Register } from './key-common.js';
import { confirmLoss } from './key-usage.js';
import { printJson, printLine } from './output.js';

const PUBLIC_KEY = 'public-key.der';
const TOKEN = 'import-token';

export const MATERIAL_COMMANDS: readonly Register[] = [
  keyCommand({
    name: 'rotate',
    says: 'make new material for what is wrapped from now on; see sealdisk rewrap for what is wrapped already',
    example: 'alias/bar',
    run: (kms, uri) => kms.rotateKey(uri),
  }),
  keyCommand<CommonOptions & { readonly every?: number; readonly off?: boolean }>({
    name: 'rotation',
    says: 'rotate a key by itself every so many days, or no longer',
    example: 'alias/bar --every 90',
    options: (command) =>
      command
        .option('--every <days>', 'the period', countUpTo(ROTATION_DAYS.max))
        .option('--off', 'no longer'),
    async run(kms, uri, { every, off }) {
      if ((every === undefined) === (off === undefined))
        fail('USAGE', { what: 'give --every DAYS or --off' });
      return kms.setRotation(uri, every ?? null);
    },
  }),
  registerParameters,
  keyCommand<
    CommonOptions & { readonly material: string; readonly token: string; readonly expires?: string }
  >({
    name: 'import',
    says: 'give a key the material that its owner has wrapped under the public key of import-parameters',
    example: `alias/bar --material wrapped.bin --token ${TOKEN}`,
    options: (command) =>
      command
        .requiredOption('--material <file>', '32 bytes wrapped by RSA-OAEP')
        .requiredOption('--token <file>', 'what came with the public key')
        .option('--expires <time>', 'when the material ends (ISO 8601); never when left out'),
    async run(kms, uri, { material, token, expires }) {
      const [wrapped, importToken] = [await read(material), await read(token)];
      return kms.importMaterial(uri, {
        wrapped,
        importToken,
        expiresAt: expires === undefined ? null : time(expires),
      });
    },
  }),
  keyCommand<CommonOptions & { readonly yes?: boolean }>({
    name: 'delete-material',
    says: 'destroy imported material; the key can be used again when the same material comes back',
    example: 'alias/bar --yes',
    options: (command) => command.option('--yes', 'do not ask'),
    async run(kms, uri, options) {
      await kms.describeKey(uri);
      await confirmLoss('key delete-material', 'Delete the material of', uri, options);
      return kms.deleteMaterial(uri);
    },
  }),
];

function registerParameters(group: Command): void {
  const command = group
    .command('import-parameters')
    .description(
      `the public key to wrap material with, and its token, as files (${PUBLIC_KEY}, ${TOKEN}); good for a day`,
    )
    .argument('<uri>', 'a key made with --origin external')
    .requiredOption('--out <folder>', 'where the two files are written')
    .addOption(
      new Option('--algorithm <name>', 'how the material will be wrapped')
        .choices(IMPORT_ALGORITHMS)
        .default('RSAES_OAEP_SHA_256'),
    )
    .addOption(new Option('--spec <spec>', 'of the public key').choices(IMPORT_SPECS).default('RSA_3072'));
  common(command, 'sealdisk key import-parameters alias/bar --out import').action(
    action(async (uri: string, options: CommonOptions & ImportChoice & { readonly out: string }) => {
      const { algorithm, spec, out } = options;
      const { publicKey, importToken, expiresAt } = await kmsOf(options).importParameters(uri, {
        algorithm,
        spec,
      });
      const files = { publicKey: join(out, PUBLIC_KEY), importToken: join(out, TOKEN) };
      await write(out, files.publicKey, publicKey);
      await write(out, files.importToken, importToken);
      if (options.json) return printJson({ ...files, algorithm, spec, expiresAt });
      printLine(
        `wrap the material with ${files.publicKey} (${algorithm}), then import it before ${expiresAt}`,
      );
    }),
  );
}

async function read(path: string): Promise<Buffer> {
  return readFile(path).catch((error) => fail('DISK_IO', { path, errno: errnoOf(error) }, error));
}

async function write(folder: string, path: string, bytes: Buffer): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
    await writeFile(path, bytes, { mode: 0o600 });
  } catch (error) {
    fail('DISK_IO', { path, errno: errnoOf(error) }, error);
  }
}

function time(text: string): string {
  const parsed = new Date(text);
  if (Number.isNaN(parsed.getTime()))
    fail('USAGE', { what: `"${text}" is not a time, as 2027-01-31T12:00:00Z is` });
  return parsed.toISOString();
}
