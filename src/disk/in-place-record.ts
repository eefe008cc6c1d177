/**
 * The record of an encryption in place that has begun and has no header yet (in-place-start.ts): one block, in the gap that
 * the payload moves into. It says what the file was; with a hash, so that no block of somebody's data is taken for one.
 */

import { createHash } from 'node:crypto';
import { NEW_OFFSET_BYTES } from '../luks2/create.js';
import { fileOf, orDiskIo } from '../luks2/file.js';
import type { Held } from './held-file.js';

/** How far a payload moves up: the room of its header. */
export const SHIFT_BYTES = BigInt(NEW_OFFSET_BYTES);
export const RECORD_BYTES = 4096;
const MAGIC = 'sealdisk in-place start 1\n';
const HASH_BYTES = 32;

/** `growing`: nothing but the length was changed. `copied`: the first bytes wait behind the end, too. */
export interface Start {
  readonly phase: 'growing' | 'copied';
  readonly originalBytes: bigint;
  readonly payloadBytes: bigint;
}

/** Writes it, and makes the file as long as that takes. DISK_IO. */
export async function writeStart({ path, file }: Held, start: Start): Promise<void> {
  const record = Buffer.alloc(RECORD_BYTES);
  const { phase, originalBytes, payloadBytes } = start;
  record.write(
    `${MAGIC}${JSON.stringify({ phase, originalBytes: `${originalBytes}`, payloadBytes: `${payloadBytes}` })}`,
  );
  hashOf(record).copy(record, RECORD_BYTES - HASH_BYTES);
  const io = fileOf(file.fd);
  await orDiskIo(path, io.write(Number(payloadBytes + SHIFT_BYTES) - RECORD_BYTES, record));
  await orDiskIo(path, io.sync());
}

const hashOf = (record: Buffer): Buffer =>
  createHash('sha256')
    .update(record.subarray(0, RECORD_BYTES - HASH_BYTES))
    .digest();

/** The record of a beginning that was cut; undefined for a plain file like any other. */
export async function findStart({
  path,
  file,
  sizeBytes,
}: Pick<Held, 'path' | 'file' | 'sizeBytes'>): Promise<Start | undefined> {
  // At the very end while the file grows, else before the copy of the first bytes.
  for (const behind of [0n, SHIFT_BYTES]) {
    const at = sizeBytes - behind - BigInt(RECORD_BYTES);
    if (at < 0n) return undefined;
    const start = decodeStart(await orDiskIo(path, fileOf(file.fd).read(Number(at), RECORD_BYTES)));
    if (start && start.payloadBytes + SHIFT_BYTES === at + BigInt(RECORD_BYTES)) return start;
  }
  return undefined;
}

function decodeStart(record: Buffer): Start | undefined {
  if (record.length < RECORD_BYTES || !record.subarray(RECORD_BYTES - HASH_BYTES).equals(hashOf(record)))
    return undefined;
  const text = record.toString('utf8', 0, record.indexOf(0));
  if (!text.startsWith(MAGIC)) return undefined;
  const { phase, originalBytes, payloadBytes } = JSON.parse(text.slice(MAGIC.length));
  return { phase, originalBytes: BigInt(originalBytes), payloadBytes: BigInt(payloadBytes) };
}
