/** sealdisk key rotate, rotation, delete-material: what a key wraps with. */

import { fail } from '../errors.js';
import { ROTATION_DAYS } from '../kms/local/cmk.js';
import { type CommonOptions, countUpTo } from './context.js';
import { keyCommand, type Register } from './key-common.js';
import { confirmLoss } from './key-usage.js';

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
