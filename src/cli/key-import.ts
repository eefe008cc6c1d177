/**
 * sealdisk key import-parameters, import: material that its owner brings. In two steps, so that it is wrapped where it
 * is and comes here as ciphertext; or in one, from a file on this machine that holds it in the clear.
 */

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { errnoOf, fail } from '../errors.js';
import { IMPORT_ALGORITHMS, IMPORT_SPECS, type ImportChoice, wrapForImport } from '../kms/local/import.js';
import type { LocalKms } from '../kms/local/local-kms.js';
import { consumeSecret } from '../kms/local/secret.js';
import { secretOf } from '../kms/local/specs.js';
import { action, type CommonOptions, common } from './context.js';
import { keyCommand, kmsOf, type Register } from './key-common.js';
import { printJson, printLine } from './output.js';

const PUBLIC_KEY = 'public-key.der';
const TOKEN = 'import-token';
const MATERIAL_BYTES = 32;
const RAW: ImportChoice = { algorithm: 'RSAES_OAEP_SHA_256', spec: 'RSA_3072' };

interface ImportOptions extends CommonOptions {
  readonly material?: string;
  readonly token?: string;
  readonly raw?: string;
  readonly expires?: string;
}

export const IMPORT_COMMANDS: readonly Register[] = [
  registerParameters,
  keyCommand<ImportOptions>({
    name: 'import',
    says: 'give a key its material: wrapped under the public key of import-parameters, or the 32 bytes themselves',
    example: `alias/bar --material wrapped.bin --token ${TOKEN}`,
    options: (command) =>
      command
        .option('--material <file>', '32 bytes wrapped by RSA-OAEP')
        .option('--token <file>', 'what came with the public key')
        .option('--raw <file>', 'the 32 bytes in the clear, in the place of the two')
        .option('--expires <time>', 'when the material ends (ISO 8601); never when left out'),
    async run(kms, uri, options) {
      const expiresAt = options.expires === undefined ? null : time(options.expires);
      return kms.importMaterial(uri, { ...(await given(kms, uri, options)), expiresAt });
    },
  }),
];

async function given(kms: LocalKms, uri: string, { material, token, raw }: ImportOptions) {
  if (raw !== undefined && material === undefined && token === undefined) return wrapped(kms, uri, raw);
  if (raw !== undefined || material === undefined || token === undefined) {
    fail('USAGE', { what: 'give --material FILE and --token FILE, or --raw FILE' });
  }
  return { wrapped: await read(material), importToken: await read(token) };
}

/** The bytes of the file `raw` as its owner would send them. */
async function wrapped(kms: LocalKms, uri: string, raw: string) {
  const { publicKey, importToken } = await kms.importParameters(uri, RAW);
  const bytes = await read(raw);
  if (bytes.length !== MATERIAL_BYTES) {
    const sizeBytes = bytes.length;
    bytes.fill(0);
    fail('USAGE', { what: `${raw} has ${sizeBytes} bytes, expected ${MATERIAL_BYTES}` });
  }
  return consumeSecret(secretOf(bytes), (material) => ({
    wrapped: wrapForImport(publicKey, RAW.algorithm, material),
    importToken,
  }));
}

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
