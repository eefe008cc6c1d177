/** sealdisk image: disks to make others from, those of other systems, too. */

import { type Command, Option } from 'commander';
import { FORMATS, type ImageFormat } from '../image/format.js';
import { importImage } from '../image/import.js';
import { absolute } from '../pool/resolve.js';
import { action, type CommonOptions, common, environmentOf } from './context.js';
import { report } from './create.js';
import { registerDelete } from './delete.js';
import { collectTag } from './key-labels.js';
import { withProgress } from './progress.js';
import { placeOf, registerCopy, registerCreate, registerList } from './snapshot.js';

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
