/**
 * What bytes look like that were read from the storage as they lie there: ciphertext, or something that anybody can read.
 *
 * Ciphertext of AES-XTS is like noise: each byte as frequent as every other (chi-square with 255 degrees of freedom), no block
 * twice, no text, no mark of a file system. Noise is not proof: compressed or otherwise encrypted data looks nearly the same.
 */

import { createHash } from 'node:crypto';

const BLOCK_BYTES = 4096;
/** Noise is above it in one sample of 10^11: 255 and eight standard deviations. */
export const CHI_SQUARE_LIMIT = 436;
/** So long a run of printable characters is in noise once in 10^17 bytes. */
const TEXT_RUN_BYTES = 40;

export interface Finding {
  /** Of the payload. */
  readonly atBytes: bigint;
  readonly what: string;
}

export interface Measure {
  /** Bits per byte of what is not zero; null where all is. */
  readonly entropy: number | null;
  readonly chiSquare: number | null;
  readonly zeroBlocks: number;
  readonly findings: readonly Finding[];
}

/** Blocks that were seen, by their hash. */
export type Seen = Set<string>;

/** Looks at a sample that lies at `atBytes` of the payload; a block of zeros may be a hole. */
export function measure(
  sample: Buffer,
  atBytes: bigint,
  seen: Seen,
  isHole: (atBytes: bigint) => boolean,
): Measure {
  const findings = [...marksIn(sample, atBytes)];
  const counts = new Uint32Array(256);
  let counted = 0;
  let zeroBlocks = 0;
  for (let at = 0; at < sample.length; at += BLOCK_BYTES) {
    const block = sample.subarray(at, at + BLOCK_BYTES);
    const where = atBytes + BigInt(at);
    if (isZero(block)) {
      if (!isHole(where)) zeroBlocks += 1;
      continue;
    }
    const content = createHash('sha256').update(block).digest('base64');
    if (seen.has(content)) findings.push({ atBytes: where, what: 'a block that is there twice' });
    seen.add(content);
    for (const byte of block) counts[byte] = (counts[byte] ?? 0) + 1;
    counted += block.length;
  }
  const text = longestText(sample);
  if (text.length >= TEXT_RUN_BYTES) {
    findings.push({ atBytes: atBytes + BigInt(text.at), what: `${text.length} characters of text` });
  }
  if (counted === 0) return { entropy: null, chiSquare: null, zeroBlocks, findings };
  const chiSquare = chiSquareOf(counts, counted);
  if (chiSquare > CHI_SQUARE_LIMIT) {
    findings.push({ atBytes, what: `bytes that are no noise (chi-square ${Math.round(chiSquare)})` });
  }
  return { entropy: entropyOf(counts, counted), chiSquare, zeroBlocks, findings };
}

const ZEROS = Buffer.alloc(BLOCK_BYTES);
const isZero = (block: Buffer): boolean => block.equals(ZEROS.subarray(0, block.length));

/** Shannon's, in bits per byte. */
function entropyOf(counts: Uint32Array, total: number): number {
  let bits = 0;
  for (const count of counts) if (count > 0) bits -= (count / total) * Math.log2(count / total);
  return bits;
}

function chiSquareOf(counts: Uint32Array, total: number): number {
  const expected = total / 256;
  let sum = 0;
  for (const count of counts) sum += (count - expected) ** 2 / expected;
  return sum;
}

function longestText(sample: Buffer): { at: number; length: number } {
  let longest = { at: 0, length: 0 };
  let begin = 0;
  for (let at = 0; at <= sample.length; at++) {
    const byte = sample[at] ?? 0;
    if ((byte >= 0x20 && byte < 0x7f) || byte === 0x0a || byte === 0x09) continue;
    if (at - begin > longest.length) longest = { at: begin, length: at - begin };
    begin = at + 1;
  }
  return longest;
}

/** Where, from the beginning of a disk, and by what it is known. */
const MARKS: readonly (readonly [atBytes: number, mark: string, what: string])[] = [
  [0, 'XFSB', 'an XFS file system'],
  [0, 'LUKS\xba\xbe', 'a LUKS header'],
  [0, 'hsqs', 'a squashfs file system'],
  [3, 'NTFS    ', 'an NTFS file system'],
  [82, 'FAT32   ', 'a FAT file system'],
  [512, 'EFI PART', 'a GPT partition table'],
  [4096, 'EFI PART', 'a GPT partition table'],
  [512, 'LABELONE', 'an LVM physical volume'],
  [4086, 'SWAPSPACE2', 'swap space'],
  [32_769, 'CD001', 'an ISO 9660 file system'],
  [65_600, '_BHRfS_M', 'a btrfs file system'],
];

function* marksIn(sample: Buffer, atBytes: bigint): Generator<Finding> {
  for (const [markAt, mark, what] of MARKS) {
    const at = markAt - Number(atBytes);
    if (at >= 0 && sample.toString('latin1', at, at + mark.length) === mark) {
      yield { atBytes: BigInt(markAt), what };
    }
  }
  if (atBytes !== 0n || sample.length < 2048) return;
  if (isExt(sample)) yield { atBytes: 1024n, what: 'an ext2, ext3 or ext4 file system' };
  if (isMbr(sample)) yield { atBytes: 510n, what: 'an MBR partition table' };
}

/** The magic has two bytes only: block size and inode size must be those of a file system, too. */
function isExt(disk: Buffer): boolean {
  const inodeBytes = disk.readUInt16LE(1024 + 88);
  const powerOfTwo = inodeBytes >= 128 && (inodeBytes & (inodeBytes - 1)) === 0;
  return disk.readUInt16LE(1080) === 0xef53 && disk.readUInt32LE(1048) <= 6 && powerOfTwo;
}

/** As above: each of the four entries is active or not. */
function isMbr(disk: Buffer): boolean {
  const status = [446, 462, 478, 494].map((at) => disk[at] ?? 1);
  return disk.readUInt16BE(510) === 0x55aa && status.every((byte) => byte === 0 || byte === 0x80);
}
