/** sealdisk image: disks to make others from, those of other systems, too. */

import { type Command, Option } from 'commander';
import { EXPORT_FORMATS, type ExportFormat, exportImage, ownFormat } from '../image/export.js';
import { FORMATS, type ImageFormat } from '../image/format.js';
import { importImage } from '../image/import.js';
import { absolute } from '../pool/resolve.js';
import { action, type CommonOptions, common, environmentOf, OBJECT } from './context.js';
import { report } from './create.js';
import { registerDelete } from './delete.js';
import { collectTag } from './key-labels.js';
import { printJson, printLine } from './output.js';
import { withProgress } from './progress.js';
import { readPassphrase } from './recovery-passphrase.js';
import { ofKind, placeOf, registerCopy, registerCreate, registerList } from './snapshot.js';

interface ExportOptions extends CommonOptions {
  readonly format?: ExportFormat;
  readonly passphraseFile?: string;
}

interface ImportOptions extends CommonOptions {
  readonly name: string;
  readonly tag: Record<string, string>;
  readonly key?: string;
  readonly format?: ImageFormat;
  readonly discard?: boolean;
}

export function register(program: Command): void {
  const image = program.command('image').description('disks to make others from');
  registerImport(image);
  registerCreate(image, 'image', {
    description: 'make an image of what a disk holds now, in use or not; of an encrypted one it is encrypted',
    argument: '<disk|snapshot|device>',
    example: 'sealdisk image create data --name debian',
  });
  registerList(image, 'image');
  registerCopy(image, 'image', 'sealdisk image copy debian --name debian-sealed --key alias/bar');
  registerExport(image);
  registerDelete(image, 'image', 'sealdisk image delete debian');
}

function registerImport(group: Command): void {
  const command = group
    .command('import')
    .description('take a disk image into the pool; the file stays')
    .argument('<file>', 'a disk image that stands by itself; its machine is off')
    .requiredOption('--name <name>', 'its name in the pool, or a path with a slash')
    .option(
      '--key <uri>',
      'the key that wraps its data key: it is enciphered on its way; without it, it is plain',
    )
    .addOption(
      new Option('--format <format>', 'refuse another one; raw takes any file as it is').choices(FORMATS),
    )
    .option('--tag <key=value>', 'a tag; may be given again', collectTag, {})
    .option('--discard', 'with --key: let it have holes, where the file has them');
  common(command, 'sealdisk image import /srv/debian.qcow2 --name debian').action(
    action(async (file: string, options: ImportOptions) => {
      const { name, key, tag, format, discard = false } = options;
      const wish = {
        placed: placeOf(name, 'image', key !== undefined, options),
        tags: tag,
        format,
        keyUri: key,
        discard,
        environment: environmentOf(options),
      };
      const made = await withProgress(name, options.json ?? false, (bulk) =>
        importImage(absolute(file), { ...wish, bulk }),
      );
      report(made, options);
    }),
  );
}

const LEAVES = `
An encrypted image leaves encrypted: as luks it is the file that it is, which opens with its key, or
in cryptsetup with a recovery passphrase (sealdisk recover add); as qcow2 it is enciphered anew for
QEMU under a passphrase, which outlives the key in the KMS.`;

function registerExport(group: Command): void {
  const command = group
    .command('export')
    .description('make a file of an image, for another system; never plain data of an encrypted one')
    .argument('<image>', OBJECT)
    .argument('<file>', 'the file to be made')
    .addOption(
      new Option('--format <format>', 'default: luks of an encrypted image, raw of a plain one').choices(
        EXPORT_FORMATS,
      ),
    )
    .option(
      '--passphrase-file <file>',
      'of an encrypted qcow2: its first line is the passphrase; else it is asked for',
    )
    .addHelpText('after', LEAVES);
  common(command, 'sealdisk image export debian debian.qcow2 --format qcow2').action(
    action(async (word: string, file: string, options: ExportOptions) => {
      const image = await ofKind(word, 'image', options);
      const format = options.format ?? ownFormat(image);
      const path = absolute(file);
      await withProgress(file, options.json ?? false, (bulk) =>
        exportImage(image, {
          ...{ path, format, bulk },
          passphrase: () => readPassphrase(options.passphraseFile, true),
          environment: environmentOf(options),
        }),
      );
      if (options.json) printJson({ id: image.label.object.id, path, format });
      else printLine(`${path}: ${format} of ${image.label.object.id}`);
    }),
  );
}
