/** sealdisk kms backup and restore: the whole embedded KMS in one encrypted file, and back. */

import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { backup, restore } from '../kms/local/backup.js';
import { kmsDirOf } from '../kms/local/provider.js';
import { PROTECTION_KINDS, type ProtectionKind } from '../kms/local/root/description.js';
import { passphraseFrom } from '../kms/local/root/passphrase.js';
import { action, type CommonOptions, common, environmentOf } from './context.js';
import { printJson, printLine } from './output.js';
import { askOnTerminal } from './passphrase.js';

interface BackupOptions {
  readonly passphraseFile?: string;
}

export function register(group: Command): void {
  registerBackup(group);
  registerRestore(group);
}

function registerBackup(group: Command): void {
  const command = group
    .command('backup')
    .description('write keys, access keys, audit log and root key to one encrypted file')
    .argument('<file>', 'the file to make')
    .option('--passphrase-file <file>', 'the passphrase of the backup stands in this file');
  common(command, 'sealdisk kms backup /safe/kms.backup --passphrase-file FILE').action(
    action(async (file: string, options: CommonOptions & BackupOptions) => {
      askOnTerminal();
      const question = { text: 'New passphrase of the backup', twice: true };
      const passphrase = await passphraseFrom(options.passphraseFile, question);
      const files = await backup(kmsDirOf(environmentOf(options).poolDir), resolve(file), passphrase);
      if (options.json) printJson({ file: resolve(file), files });
      else printLine(`${file}: ${files} files`);
    }),
  );
}

function registerRestore(group: Command): void {
  const command = group
    .command('restore')
    .description('make the KMS of a pool that has none of a backup')
    .argument('<file>', 'a file of sealdisk kms backup')
    .option('--passphrase-file <file>', 'the passphrase of the backup stands in this file')
    .addOption(
      new Option('--protect <kind>', 'how the root key is kept')
        .choices([...PROTECTION_KINDS])
        .default('file'),
    )
    .option('--root-passphrase-file <file>', 'with --protect passphrase: the new passphrase of the root key');
  common(command, 'sealdisk kms restore /safe/kms.backup --pool /srv/pool').action(
    action(
      async (
        file: string,
        options: CommonOptions & BackupOptions & { protect: ProtectionKind; rootPassphraseFile?: string },
      ) => {
        askOnTerminal();
        const dir = kmsDirOf(environmentOf(options).poolDir);
        const { rootPassphraseFile: passphraseFile } = options;
        const wish = { kind: options.protect, ...(passphraseFile === undefined ? {} : { passphraseFile }) };
        const question = { text: 'Passphrase of the backup', twice: false };
        const passphrase = await passphraseFrom(options.passphraseFile, question);
        const files = await restore(dir, resolve(file), passphrase, wish);
        if (options.json) printJson({ folder: dir, files });
        else printLine(`${dir}: ${files} files`);
      },
    ),
  );
}
