/**
 * The log that dm-log-writes leaves: every write in the order in which it became stable, the FLUSHes between them, and the
 * marks of the test. Layout: drivers/md/dm-log-writes.c of the kernel, little-endian; a superblock of one sector, then for
 * each entry one sector of description (with a mark's text in it) and the data written.
 */

import { closeSync, openSync, readSync } from 'node:fs';

const MAGIC = 0x6a736677736872n;
const VERSION = 1n;
const FLAG = { flush: 1n, fua: 2n, discard: 4n, mark: 8n };
const ENTRY_BYTES = 32;
const SUPER_BYTES = 28;

export type LogEntry =
  | { readonly kind: 'write'; readonly offset: number; readonly data: Buffer; readonly fua: boolean }
  | { readonly kind: 'flush' }
  | { readonly kind: 'mark'; readonly text: string };

/** All entries; a log that is not whole, or that holds what no test makes, is an error. */
export function readLog(device: string): LogEntry[] {
  const fd = openSync(device, 'r');
  try {
    const read = (at: number, bytes: number): Buffer => {
      const buffer = Buffer.alloc(bytes);
      if (readSync(fd, buffer, 0, bytes, at) !== bytes) throw new Error(`the log ends at ${at}`);
      return buffer;
    };
    const head = read(0, SUPER_BYTES);
    if (head.readBigUInt64LE(0) !== MAGIC || head.readBigUInt64LE(8) !== VERSION) throw new Error('no log');
    const count = Number(head.readBigUInt64LE(16));
    const sectorBytes = head.readUInt32LE(24);
    const entries: LogEntry[] = [];
    for (let at = sectorBytes, n = 0; n < count; n++) {
      const entry = read(at, sectorBytes);
      const dataBytes = Number(entry.readBigUInt64LE(8)) * sectorBytes;
      entries.push(...entriesOf(entry, sectorBytes, () => read(at + sectorBytes, dataBytes)));
      at += sectorBytes + dataBytes;
    }
    return entries;
  } finally {
    closeSync(fd);
  }
}

/** A write that asks for a flush first is two entries. */
function entriesOf(entry: Buffer, sectorBytes: number, data: () => Buffer): LogEntry[] {
  const flags = entry.readBigUInt64LE(16);
  if (flags & FLAG.discard) throw new Error('the log has a discard');
  if (flags & FLAG.mark) {
    const length = Number(entry.readBigUInt64LE(24));
    return [{ kind: 'mark', text: entry.toString('latin1', ENTRY_BYTES, ENTRY_BYTES + length) }];
  }
  const found: LogEntry[] = flags & FLAG.flush ? [{ kind: 'flush' }] : [];
  if (entry.readBigUInt64LE(8) > 0n) {
    const offset = Number(entry.readBigUInt64LE(0)) * sectorBytes;
    found.push({ kind: 'write', offset, data: data(), fua: (flags & FLAG.fua) !== 0n });
  }
  return found;
}
