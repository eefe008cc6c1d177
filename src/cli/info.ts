/** sealdisk info: what a disk's header says, and how it is in service. */

import type { Command } from 'commander';
import { type Attachment, find } from '../attach/attachments.js';
import { indexOf } from '../attach/kernel-device.js';
import { type DiskDescription, readDisk } from '../disk/read.js';
import { fail } from '../errors.js';
import { absolute, action, type CommonOptions, common } from './context.js';
import { printFields, printJson } from './output.js';
import { formatSize } from './units.js';

export function register(program: Command): void {
  const command = program
    .command('info')
    .description('what a disk says of itself, and its attachment')
    .argument('<disk|device>', 'path of the disk, or /dev/nbdN');
  common(command, 'sealdisk info /dev/nbd0 --json').action(
    action(async (target: string, options: CommonOptions) => {
      const attachment = await find(target);
      if (!attachment && indexOf(target) !== undefined) fail('ATTACH_NOT_ATTACHED', { target });
      const info = factsOf(await readDisk(attachment?.path ?? absolute(target)), attachment);
      if (options.json) printJson(info);
      else print(info);
    }),
  );
}

type Info = ReturnType<typeof factsOf>;

function factsOf(disk: DiskDescription, attachment: Attachment | undefined) {
  const { token, header } = disk;
  return {
    uuid: header.uuid,
    path: disk.path,
    name: token.name,
    kind: token.object.kind,
    sizeBytes: `${disk.sizeBytes}`,
    sectorSize: disk.sectorSize,
    holes: disk.holes,
    generation: token.generation,
    cipher: 'aes-xts-plain64',
    createdAt: token.createdAt,
    tags: token.tags,
    headerCopies: disk.repair === 'none' ? 'good' : `${disk.repair} is bad`,
    keyUri: token.keyUri,
    keyId: token.keyId,
    keyVersion: token.keyVersion,
    device: attachment?.device ?? null,
    address: attachment?.address ?? null,
    serverPid: attachment?.serverPid ?? null,
    gate: attachment?.gate ?? null,
    reason: attachment?.reason ?? '',
    onKeyLoss: attachment?.onKeyLoss ?? null,
    readOnly: attachment?.readOnly ?? null,
    attachedAt: attachment?.attachedAt ?? null,
    io: attachment?.io ?? null,
  };
}

function print(info: Info): void {
  const tags = Object.entries(info.tags).map(([key, value]) => `${key}=${value}`);
  printFields({
    disk: info.path,
    uuid: info.uuid,
    name: info.name,
    size: `${formatSize(BigInt(info.sizeBytes))} (${info.sizeBytes} bytes)`,
    sector: `${info.sectorSize} bytes`,
    cipher: info.cipher,
    holes: info.holes ? 'allowed, they read as zeros' : '',
    created: info.createdAt,
    tags: tags.join(' '),
    header: info.headerCopies,
    key: info.keyUri,
    'key id': `${info.keyId}, version ${info.keyVersion}`,
    device: info.device ?? info.address ?? 'not attached',
    server: info.serverPid === null ? '' : `pid ${info.serverPid}`,
    gate: [info.gate, info.reason && `(${info.reason})`].filter(Boolean).join(' '),
    'on key loss': info.onKeyLoss ?? '',
    io: info.io
      ? `${info.io.reads} reads, ${info.io.writes} writes, ${info.io.inFlight} in flight, ${info.io.parked} parked`
      : '',
  });
}
