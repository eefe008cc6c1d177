/**
 * What an image file is, by its first bytes, before any other program looks at it.
 *
 * Kept true: a file that names another one (a backing file, a data file, extents beside it) is refused here: whoever made
 * it may have named /etc/shadow. What is no disk image at all, though it would pass for a raw one, is refused by its name.
 * Sources: QEMU, docs/interop/qcow2.txt; VMware, "Virtual Disk Format 5.0"; Microsoft, [MS-VHDX].
 */

export const FORMATS = ['raw', 'qcow2', 'vmdk', 'vhdx'] as const;
export type ImageFormat = (typeof FORMATS)[number];

/** What `formatOf` has to see of a file. */
export const BEGIN_BYTES = 512;

/** A format that is read, or the name of something that is not. */
export type Recognized = { readonly format: ImageFormat } | { readonly other: string };

interface Signature {
  readonly at: number;
  readonly bytes: Buffer;
  readonly is: Recognized;
}

const signature = (is: Recognized, text: string, at = 0): Signature => ({
  at,
  bytes: Buffer.from(text, 'latin1'),
  is,
});

const SIGNATURES: readonly Signature[] = [
  signature({ format: 'qcow2' }, 'QFI\xfb'),
  signature({ format: 'vmdk' }, 'KDMV'),
  signature({ format: 'vhdx' }, 'vhdxfile'),
  signature({ other: 'a VMDK in several files' }, '# Disk DescriptorFile'),
  signature({ other: 'a VMDK of ESX' }, 'COWD'),
  signature({ other: 'a VHD, the format before VHDX' }, 'conectix'),
  signature({ other: 'a QED' }, 'QED\0'),
  signature({ other: 'a VDI' }, '\x7f\x10\xda\xbe', 64),
  signature({ other: 'compressed with gzip' }, '\x1f\x8b'),
  signature({ other: 'compressed with xz' }, '\xfd7zXZ\0'),
  signature({ other: 'compressed with zstd' }, '\x28\xb5\x2f\xfd'),
  signature({ other: 'compressed with bzip2' }, 'BZh'),
  signature({ other: 'a zip archive' }, 'PK\x03\x04'),
];

/** What the file that begins with these bytes is; raw is what is nothing else. */
export function formatOf(begin: Buffer): Recognized {
  const found = SIGNATURES.find(({ at, bytes }) => begin.subarray(at, at + bytes.length).equals(bytes));
  return found?.is ?? { format: 'raw' };
}

/** Why a file of the format that begins with these bytes is not read; undefined: nothing speaks against it here. */
export function flawOf(format: ImageFormat, begin: Buffer): string | undefined {
  if (format === 'qcow2') return flawOfQcow2(begin);
  if (format === 'vmdk') return flawOfVmdk(begin);
  return undefined;
}

const QCOW2 = { version: 4, backingFileOffset: 8, cryptMethod: 32, incompatibleFeatures: 72 } as const;
const QCOW2_EXTERNAL_DATA_FILE = 1n << 2n;
const QCOW2_V2_BYTES = 72;
const QCOW2_V3_BYTES = 104;

function flawOfQcow2(begin: Buffer): string | undefined {
  if (begin.length < QCOW2_V2_BYTES) return 'its header is cut';
  const version = begin.readUInt32BE(QCOW2.version);
  if (version !== 2 && version !== 3) return `it is a qcow of version ${version}, expected 2 or 3`;
  if (begin.readBigUInt64BE(QCOW2.backingFileOffset) !== 0n) {
    return 'it has a backing file, expected one that stands by itself (qemu-img convert makes it)';
  }
  if (begin.readUInt32BE(QCOW2.cryptMethod) !== 0) return 'it is encrypted, expected one in the clear';
  if (version === 2) return undefined;
  if (begin.length < QCOW2_V3_BYTES) return 'its header is cut';
  const features = begin.readBigUInt64BE(QCOW2.incompatibleFeatures);
  if ((features & QCOW2_EXTERNAL_DATA_FILE) === 0n) return undefined;
  return 'its data lies in another file, expected one that stands by itself (qemu-img convert makes it)';
}

const VMDK_CAPACITY = 12;

/** Without a capacity of its own the file is a list of others. */
function flawOfVmdk(begin: Buffer): string | undefined {
  if (begin.length < BEGIN_BYTES) return 'its header is cut';
  if (begin.readBigUInt64LE(VMDK_CAPACITY) !== 0n) return undefined;
  return 'its data lies in other files, expected monolithicSparse or streamOptimized';
}
