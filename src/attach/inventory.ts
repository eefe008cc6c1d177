/** What there is: the objects of a pool, and what is in service on this machine wherever its file lies. */

import type { ObjectKind } from '../luks2/label.js';
import { currentCaller, isOwn } from '../policy/caller.js';
import type { Entry, Unreadable } from '../pool/entry.js';
import { absolute } from '../pool/resolve.js';
import { scanPool } from '../pool/scan.js';
import { type Attachment, list } from './attachments.js';

/** An object, or what is in service, or both. */
export interface Listed extends Partial<Omit<Attachment, 'path' | 'uuid' | 'name' | 'sizeBytes'>> {
  readonly path: string;
  readonly uuid: string;
  readonly name: string;
  readonly kind: ObjectKind;
  readonly id: string | null;
  readonly sizeBytes: string;
  readonly encrypted: boolean;
  readonly source: string | null;
  readonly createdAt: string | null;
  readonly tags: Readonly<Record<string, string>>;
}

export interface Inventory {
  readonly listed: readonly Listed[];
  readonly unreadable: readonly Unreadable[];
}

/** The pool's objects by name, then what is in service from elsewhere; of both what the caller may see. DISK_IO. */
export async function inventory(poolDir: string): Promise<Inventory> {
  const caller = currentCaller();
  const [pool, attachments] = await Promise.all([scanPool(poolDir), list()]);
  const byPath = new Map(attachments.map((one) => [one.path, one]));
  const listed = pool.entries.map((entry) => {
    const attachment = byPath.size > 0 ? byPath.get(absolute(entry.path)) : undefined;
    if (attachment) byPath.delete(attachment.path);
    return listedOf(entry, attachment);
  });
  const elsewhere = [...byPath.values()].map(listedElsewhere);
  const seen = [...listed, ...elsewhere].filter(({ tags }) => isOwn(caller, tags));
  return { listed: seen, unreadable: caller.guest ? [] : pool.unreadable };
}

const NOT_IN_SERVICE = { device: null, address: null, serverPid: null };

function listedOf(entry: Entry, attachment: Attachment | undefined): Listed {
  const { path, uuid, name, kind, id, sizeBytes, encrypted, key, source, createdAt, tags } = entry;
  return {
    ...(attachment ?? NOT_IN_SERVICE),
    ...{ path, uuid, name, kind, id, encrypted, source, createdAt, tags },
    sizeBytes: attachment?.sizeBytes ?? sizeBytes,
    keyUri: attachment?.keyUri ?? key?.uri ?? '',
    keyId: attachment?.keyId ?? key?.id ?? '',
  };
}

const listedElsewhere = (attachment: Attachment): Listed => ({
  ...attachment,
  kind: 'disk',
  id: null,
  encrypted: attachment.keyUri !== '',
  source: null,
  createdAt: null,
  tags: {},
});
