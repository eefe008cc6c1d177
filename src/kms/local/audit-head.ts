/**
 * The head of the audit log: what its last line is, sealed under the root key, so that lines that were cut off are missed.
 *
 * It is written in place after the lines, into the other one of two slots of 512 bytes: a slot that a power failure tore
 * leaves the one before. A killed writer leaves a head that is behind the log, never one ahead of it; only a power
 * failure can take lines that were not synced (`syncedSeq`) and leave their head, and then `boot` is another one.
 */

import { readFileSync } from 'node:fs';
import { type FileHandle, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../../errors.js';
import type { SecretBytes } from '../provider.js';
import { writeDurably } from './durable.js';
import { seal, unsealPlain } from './seal.js';

const SLOT_BYTES = 512;
/** In blocks of their own. */
const SLOTS_AT = [0, 4096] as const;
const LENGTH_BYTES = 2;
const LABEL = Buffer.from(['sealdisk kms 1', 'audit head'].join('\0'));

export interface AuditHead {
  /** Number of the last line; the first is 1. */
  readonly seq: number;
  /** SHA-256 of the last line without its line end, hex. */
  readonly hash: string;
  /** Length of the log. */
  readonly sizeBytes: number;
  /** The last line that is known to be on stable storage. */
  readonly syncedSeq: number;
  /** The boot that wrote it. */
  readonly boot: string;
}

/** What the first line follows. */
export const NOTHING: AuditHead = { seq: 0, hash: '0'.repeat(64), sizeBytes: 0, syncedSeq: 0, boot: '' };

let boot: string | undefined;
/** What tells this run of the machine from every other. */
export function bootId(): string {
  boot ??= readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
  return boot;
}

/** Whether a log that ends at line `seq`, before the one that `head` names, can have lost the rest to a power failure. */
export const lostToPower = (head: AuditHead, seq: number): boolean =>
  head.boot !== bootId() && seq >= head.syncedSeq;

export const headPath = (dir: string): string => join(dir, 'audit.head');

/** Of an empty log. The caller holds the store's lock; a store that has one keeps it. */
export async function makeAuditHead(dir: string, root: SecretBytes): Promise<void> {
  const [head] = await readHeads(dir, [root]);
  if (head !== undefined) return;
  const bytes = Buffer.alloc(SLOTS_AT[1] + SLOT_BYTES);
  encodeSlot(NOTHING, root).copy(bytes);
  await writeDurably(headPath(dir), bytes);
}

/** Writes `head` into `slot`. */
export async function writeHead(
  file: FileHandle,
  slot: number,
  head: AuditHead,
  root: SecretBytes,
): Promise<void> {
  await file.write(encodeSlot(head, root), 0, SLOT_BYTES, SLOTS_AT[slot] as number);
}

/** The heads that open under one of `roots`, the newest first, each with its slot. */
export async function readHeads(
  dir: string,
  roots: readonly SecretBytes[],
): Promise<{ head: AuditHead; slot: number }[]> {
  let bytes: Buffer;
  try {
    bytes = await readFile(headPath(dir));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
  const heads = SLOTS_AT.flatMap((at, slot) => {
    const head = decodeSlot(bytes.subarray(at, at + SLOT_BYTES), roots);
    return head ? [{ head, slot }] : [];
  });
  return heads.sort((a, b) => b.head.seq - a.head.seq);
}

function encodeSlot(head: AuditHead, root: SecretBytes): Buffer {
  const box = seal(Buffer.from(JSON.stringify(head)), LABEL, root);
  const slot = Buffer.alloc(SLOT_BYTES);
  slot.writeUInt16BE(box.length);
  box.copy(slot, LENGTH_BYTES);
  return slot;
}

function decodeSlot(slot: Buffer, roots: readonly SecretBytes[]): AuditHead | undefined {
  if (slot.length < SLOT_BYTES) return undefined;
  const box = slot.subarray(LENGTH_BYTES, LENGTH_BYTES + slot.readUInt16BE());
  for (const root of roots) {
    const plain = unsealPlain(box, LABEL, root);
    if (plain) return JSON.parse(plain.toString()) as AuditHead;
  }
  return undefined;
}
