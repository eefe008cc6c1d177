/** sealdisk info: what a disk's header says, and how it is in service. */

import type { Command } from 'commander';
import { type Attachment, find } from '../attach/attachments.js';
import { indexOf } from '../attach/kernel-device.js';
import { nameOf, readObject, type StoredObject } from '../disk/object.js';
import { PLAIN_SECTOR_BYTES } from '../disk/plain.js';
import { fail } from '../errors.js';
import { action, type CommonOptions, common, OBJECT_OR_DEVICE, objectPath } from './context.js';
import { printFields, printJson } from './output.js';
import { formatSize } from './units.js';

export function register(program: Command): void {
  const command = program
    .command('info')
    .description('what a disk says of itself, and its attachment')
    .argument('<disk|device>', OBJECT_OR_DEVICE);
  common(command, 'sealdisk info /dev/nbd0 --json').action(
    action(async (target: string, options: CommonOptions) => {
      const device = indexOf(target) !== undefined;
      const path = device ? target : await objectPath(target, options);
      const attachment = await find(path);
      if (!attachment && device) fail('ATTACH_NOT_ATTACHED', { target });
      const info = factsOf(await readObject(attachment?.path ?? path), attachment);
      if (options.json) printJson(info);
      else print(info);
    }),
  );
}

type Info = ReturnType<typeof factsOf>;

function factsOf(object: StoredObject, attachment: Attachment | undefined) {
  const { uuid, path, label, sizeBytes, encrypted } = object;
  const token = encrypted?.token;
  return {
    uuid,
    path,
    name: nameOf(object),
    kind: label.object.kind,
    id: label.object.id,
    source: label.source,
    sizeBytes: `${sizeBytes}`,
    encrypted: encrypted !== undefined,
    sectorSize: encrypted?.sectorSize ?? Number(PLAIN_SECTOR_BYTES),
    holes: encrypted?.holes ?? true,
    generation: token?.generation ?? null,
    cipher: encrypted ? 'aes-xts-plain64' : 'none',
    createdAt: label.createdAt,
    tags: label.tags,
    headerCopies: headerCopiesOf(encrypted),
    keyUri: token?.keyUri ?? null,
    keyId: token?.keyId ?? null,
    keyVersion: token?.keyVersion ?? null,
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

function headerCopiesOf(encrypted: StoredObject['encrypted']): string | null {
  if (encrypted === undefined) return null;
  return encrypted.repair === 'none' ? 'good' : `${encrypted.repair} is bad`;
}

function print(info: Info): void {
  const tags = Object.entries(info.tags).map(([key, value]) => `${key}=${value}`);
  printFields({
    [info.kind]: info.path,
    id: info.id,
    uuid: info.uuid,
    name: info.name,
    size: `${formatSize(BigInt(info.sizeBytes))} (${info.sizeBytes} bytes)`,
    sector: `${info.sectorSize} bytes`,
    cipher: info.encrypted ? info.cipher : 'none: it is plain',
    holes: info.holes ? 'allowed, they read as zeros' : '',
    'made from': info.source,
    created: info.createdAt,
    tags: tags.join(' '),
    header: info.headerCopies ?? '',
    key: info.keyUri ?? '',
    'key id': info.keyId === null ? '' : `${info.keyId}, version ${info.keyVersion}`,
    device: info.device ?? info.address ?? 'not attached',
    server: info.serverPid === null ? '' : `pid ${info.serverPid}`,
    gate: [info.gate, info.reason && `(${info.reason})`].filter(Boolean).join(' '),
    'on key loss': info.onKeyLoss ?? '',
    io: info.io
      ? `${info.io.reads} reads, ${info.io.writes} writes, ${info.io.inFlight} in flight, ${info.io.parked} parked`
      : '',
  });
}
