/** sealdisk export-data-key: the data key in a file, for recovery with cryptsetup. */

import { closeSync, constants, fsyncSync, openSync, rmSync } from 'node:fs';
import type { Command } from 'commander';
import { unwrapDataKey } from '../disk/envelope.js';
import { readDisk } from '../disk/read.js';
import { errnoOf, fail } from '../errors.js';
import { openProvider } from '../kms/registry.js';
import { absolute } from '../pool/resolve.js';
import { action, type CommonOptions, common, environmentOf, OBJECT, objectPath } from './context.js';
import { confirm, printJson, printNote } from './output.js';

const KMS_TIMEOUT_MS = 30_000;
const MEANING =
  'Whoever holds this file reads the disk, for ever: disabling the KMS key no longer stops them. Keep it offline.';

interface Options extends CommonOptions {
  readonly out: string;
  readonly yes?: boolean;
}

export function register(program: Command): void {
  const command = program
    .command('export-data-key')
    .description('write the plaintext data key to a file, for recovery with cryptsetup --volume-key-file')
    .argument('<disk>', OBJECT)
    .requiredOption('--out <file>', 'where the 64 bytes are written; it must not exist')
    .option('--yes', 'do not ask');
  common(command, 'sealdisk export-data-key data.disk --out data.key --yes').action(
    action(async (path: string, options: Options) => {
      const disk = await readDisk(await objectPath(path, options));
      printNote(MEANING);
      await confirm(
        'export-data-key',
        `Write the data key of ${disk.path} to ${options.out}?`,
        options.yes ?? false,
      );
      await exportKey(disk, options);
      if (options.json) printJson({ uuid: disk.header.uuid, out: absolute(options.out) });
      else printNote(`Open it with: ${recoveryCommand(options.out, disk.path)}`);
    }),
  );
}

const recoveryCommand = (key: string, disk: string) =>
  `cryptsetup open --type luks2 --key-size 512 --volume-key-file ${key} ${disk} NAME`;

async function exportKey(disk: Awaited<ReturnType<typeof readDisk>>, options: Options): Promise<void> {
  const provider = await openProvider(disk.token.keyUri, environmentOf(options));
  try {
    const key = await unwrapDataKey(disk.header, provider, { timeoutMs: KMS_TIMEOUT_MS });
    try {
      writeKey(options.out, (fd) => key.writeTo(fd));
    } finally {
      key.wipe();
    }
  } finally {
    await provider.close();
  }
}

function writeKey(path: string, write: (fd: number) => void): void {
  let fd: number;
  try {
    fd = openSync(
      path,
      constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
      0o600,
    );
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'EEXIST') fail('DISK_EXISTS', { path }, error);
    fail('DISK_IO', { path, errno }, error);
  }
  try {
    write(fd);
    fsyncSync(fd);
  } catch (error) {
    rmSync(path, { force: true });
    fail('DISK_IO', { path, errno: errnoOf(error) }, error);
  } finally {
    closeSync(fd);
  }
}
