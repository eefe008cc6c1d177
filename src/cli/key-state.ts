/** sealdisk key disable, enable, schedule-deletion, cancel-deletion, protect, unprotect: whether a key may be used. */

import type { Command } from 'commander';
import { DELETION_WINDOW_DAYS } from '../kms/local/lifecycle.js';
import { type CommonOptions, countUpTo } from './context.js';
import { keyCommand, type Register } from './key-common.js';
import { confirmLoss } from './key-usage.js';

type Yes = CommonOptions & { readonly yes?: boolean };
const yes = (command: Command): Command => command.option('--yes', 'do not ask');
const { min, max, default: usual } = DELETION_WINDOW_DAYS;

export const STATE_COMMANDS: readonly Register[] = [
  keyCommand<Yes>({
    name: 'disable',
    says: 'disable a key: disks under it stop within a check interval',
    example: 'alias/bar --yes',
    options: yes,
    async run(kms, uri, options) {
      await kms.describeKey(uri);
      await confirmLoss('key disable', 'Disable', uri, options);
      return kms.disableKey(uri);
    },
  }),
  keyCommand({
    name: 'enable',
    says: 'enable a key: hung disks under it go on',
    example: 'alias/bar',
    run: (kms, uri) => kms.enableKey(uri),
  }),
  keyCommand<Yes & { readonly days: number }>({
    name: 'schedule-deletion',
    says: 'disable a key now and destroy it after a window; what depends on it cannot be read then, ever',
    example: 'alias/bar --days 30 --yes',
    options: (command) =>
      yes(command).option('--days <n>', `the window, ${min} to ${max} days`, countUpTo(max), usual),
    async run(kms, uri, options) {
      await kms.describeKey(uri);
      await confirmLoss('key schedule-deletion', 'Schedule the deletion of', uri, options);
      return kms.scheduleDeletion(uri, options.days);
    },
  }),
  keyCommand<CommonOptions & { readonly enable?: boolean }>({
    name: 'cancel-deletion',
    says: 'keep a key that is pending deletion; it is disabled until it is enabled',
    example: 'alias/bar --enable',
    options: (command) => command.option('--enable', 'and enable it'),
    run: (kms, uri, { enable }) => kms.cancelDeletion(uri, enable ? 'enabled' : 'disabled'),
  }),
  keyCommand({
    name: 'protect',
    says: 'protect a key from deletion',
    example: 'alias/bar',
    run: (kms, uri) => kms.setDeletionProtection(uri, true),
  }),
  keyCommand({
    name: 'unprotect',
    says: 'take the protection from deletion away',
    example: 'alias/bar',
    run: (kms, uri) => kms.setDeletionProtection(uri, false),
  }),
];
