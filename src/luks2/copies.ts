/**
 * The two copies of a header in a file: judged apart, read as one, written one after the other.
 *
 * A copy is good when its bounds, checksum and JSON text hold; of two good copies the higher sequence id is the header, and
 * only that one is judged by what it says (metadata.ts): a refusal of the newer copy is never answered with the older.
 * Two good copies that no cut write can leave are refused: of two disks, of one sequence id but not alike, or the newer one
 * of an older generation, which is an old header that was put back with a sequence id to win by.
 * A write never touches the only copy that holds the present state: the other one goes first, and is on stable storage
 * before the next begins. So a write that is cut anywhere leaves a header that opens, as it was or as it was to be.
 * Callers hold the lock of lock.ts. Source: LUKS2 On-Disk Format Specification 1.1.x, section 2 (binary header).
 */

import { isDeepStrictEqual } from 'node:util';
import { errnoOf, fail, isFailure, type SealdiskError } from '../errors.js';
import { isConverting, refuseConverting } from './conversion.js';
import { fileOf, type HeaderFile, orDiskIo } from './file.js';
import {
  BINARY_SIZE_BYTES,
  decodeCopy,
  type EncodableHeader,
  encodeCopy,
  HDR_SIZES_BYTES,
  hdrSizeOf,
  type Luks2Header,
  type Place,
  type RawHeader,
  type Which,
} from './header.js';
import { parseMetadata } from './metadata.js';
import { generationIn } from './token.js';

export type Copy =
  | { readonly kind: 'good'; readonly header: RawHeader }
  | { readonly kind: 'bad'; readonly fault: SealdiskError }
  | { readonly kind: 'unreadable'; readonly errno: string; readonly cause: unknown };

export type Repair = 'none' | Which;

interface Copies {
  readonly primary: Copy;
  readonly secondary: Copy;
}

/** A descriptor, which stays the caller's, or, in tests, a file whose I/O can be cut. */
export type Source = number | HeaderFile;

const fileFrom = (source: Source) => (typeof source === 'number' ? fileOf(source) : source);

/**
 * The header, and which copy is to be repaired (`repairHeader`) because it is bad or older.
 * Fails with the fault of the copies when none is good, with the LUKS2_ code of what the header says, and with CONVERT_* while
 * the disk is converted.
 */
export async function readHeader(
  source: Source,
  path: string,
): Promise<{ header: Luks2Header; repair: Repair }> {
  const { header, repair } = await readRawHeader(source, path);
  if (isConverting(header.json)) refuseConverting(header, path);
  return { header: parseHeader(header), repair };
}

/** As `readHeader`, but what the header says is not judged. */
export async function readRawHeader(
  source: Source,
  path: string,
): Promise<{ header: RawHeader; repair: Repair }> {
  const copies = await readCopies(fileFrom(source), path);
  checkPair(copies);
  return choose(copies) ?? refuseBoth(copies, path);
}

/** What the header says, judged; LUKS2_*. */
export function parseHeader({ json, ...rest }: RawHeader): Luks2Header {
  return { ...rest, metadata: parseMetadata(json, rest.hdrSizeBytes) };
}

/** Writes `header`, as read, over the copy that `which` names. */
export async function repairHeader(
  source: Source,
  path: string,
  header: Luks2Header,
  which: Which,
): Promise<void> {
  await writeCopy(fileFrom(source), path, header, which);
}

/**
 * Writes both copies of `header`, with the next sequence id; returns the header as written. `judge` takes a header of
 * another form than a disk's, and fails where it is not what it must be.
 */
export async function writeHeader<H extends EncodableHeader>(
  source: Source,
  path: string,
  header: H,
  judge: (header: RawHeader) => unknown = parseHeader,
): Promise<H> {
  const file = fileFrom(source);
  const next = { ...header, seqid: header.seqid + 1n };
  // Our own bytes are judged before the first of them is written.
  for (const which of ['primary', 'secondary'] as const) {
    const place = { which, offsetBytes: offsetOf(which, next.hdrSizeBytes), path };
    judge(decodeCopy(encodeCopy(next, which), place));
  }
  const present = choose(await readCopies(file, path));
  if (present !== undefined && present.header.uuid === header.uuid && present.header.seqid > header.seqid) {
    const found = `sequence id ${present.header.seqid}`;
    fail('INTERNAL', { what: `${path} holds ${found}, a write began at ${header.seqid}` });
  }
  const order: Which[] =
    present?.repair === 'secondary' ? ['secondary', 'primary'] : ['primary', 'secondary'];
  for (const which of order) await writeCopy(file, path, next, which);
  return next;
}

async function writeCopy(
  file: HeaderFile,
  path: string,
  header: EncodableHeader,
  which: Which,
): Promise<void> {
  await orDiskIo(path, file.write(offsetOf(which, header.hdrSizeBytes), encodeCopy(header, which)));
  await orDiskIo(path, file.sync());
}

const offsetOf = (which: Which, hdrSizeBytes: number) => (which === 'primary' ? 0 : hdrSizeBytes);

/** Both copies. Where the secondary stands is known from a good primary; without one every possible place is looked at. */
export async function readCopies(source: Source, path: string): Promise<Copies> {
  const file = fileFrom(source);
  const primary = await readCopy(file, { which: 'primary', offsetBytes: 0, path });
  const places = primary.kind === 'good' ? [primary.header.hdrSizeBytes] : HDR_SIZES_BYTES;
  let secondary: Copy | undefined;
  for (const offsetBytes of places) {
    const copy = await readCopy(file, { which: 'secondary', offsetBytes, path });
    if (copy.kind === 'good') return { primary, secondary: copy };
    // Of several faults, one of a copy tells more than one of a place where there is none.
    if (secondary === undefined || isNoCopy(secondary)) secondary = copy;
  }
  return { primary, secondary: secondary as Copy };
}

async function readCopy(file: HeaderFile, place: Place): Promise<Copy> {
  try {
    const binary = await file.read(place.offsetBytes, BINARY_SIZE_BYTES);
    if (binary.length < BINARY_SIZE_BYTES) fail('LUKS2_NOT_LUKS', { path: place.path });
    const sizeBytes = hdrSizeOf(binary, place);
    const copy = await file.read(place.offsetBytes, sizeBytes);
    if (copy.length < sizeBytes) {
      const expected = place.offsetBytes + sizeBytes;
      fail('DISK_TOO_SMALL', { path: place.path, found: place.offsetBytes + copy.length, expected });
    }
    return { kind: 'good', header: decodeCopy(copy, place) };
  } catch (error) {
    if (isFailure(error)) return { kind: 'bad', fault: error };
    return { kind: 'unreadable', errno: errnoOf(error), cause: error };
  }
}

function choose({ primary, secondary }: Copies): { header: RawHeader; repair: Repair } | undefined {
  if (primary.kind !== 'good') {
    return secondary.kind === 'good' ? { header: secondary.header, repair: 'primary' } : undefined;
  }
  if (secondary.kind !== 'good') return { header: primary.header, repair: 'secondary' };
  if (primary.header.seqid === secondary.header.seqid) return { header: primary.header, repair: 'none' };
  return primary.header.seqid > secondary.header.seqid
    ? { header: primary.header, repair: 'secondary' }
    : { header: secondary.header, repair: 'primary' };
}

/** Refuses two good copies that contradict one another. Nothing here is proved: a refusal serves nothing. */
function checkPair({ primary, secondary }: Copies): void {
  if (primary.kind !== 'good' || secondary.kind !== 'good') return;
  const [a, b] = [primary.header, secondary.header];
  if (a.uuid !== b.uuid) fail('LUKS2_COPIES', { what: `UUID ${a.uuid} and ${b.uuid}` });
  if (a.seqid === b.seqid) {
    if (!isDeepStrictEqual(a, b)) fail('LUKS2_COPIES', { what: `two contents of sequence id ${a.seqid}` });
    return;
  }
  const [newer, older] = a.seqid > b.seqid ? [a, b] : [b, a];
  const [found, expected] = [generationIn(newer.json), generationIn(older.json)];
  if (found < expected) fail('LUKS2_ROLLED_BACK', { found, expected });
}

const isNoCopy = (copy: Copy) => copy.kind === 'bad' && copy.fault.code === 'LUKS2_NOT_LUKS';

/** Of two copies that are not good: what stands in the way of the first that is there at all. */
function refuseBoth({ primary, secondary }: Copies, path: string): never {
  const told = isNoCopy(primary) && !isNoCopy(secondary) ? secondary : primary;
  if (told.kind === 'unreadable') fail('DISK_IO', { path, errno: told.errno }, told.cause);
  if (told.kind === 'good') fail('INTERNAL', { what: 'a good copy was refused' });
  const both =
    primary.kind === 'bad' && secondary.kind === 'bad' && secondary.fault.code === 'LUKS2_CHECKSUM';
  if (both && primary.fault.code === 'LUKS2_CHECKSUM') {
    fail('LUKS2_CHECKSUM', { copies: 'primary and secondary' }, told.fault);
  }
  throw told.fault;
}
