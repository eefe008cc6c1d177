/** The file systems of the tests: how each is made and judged, and how programs are run that the test does not wait for. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';

export const MIB = 1n << 20n;

export interface FileSystem {
  readonly name: string;
  readonly sizeBytes: bigint;
  readonly sectorSize: 512 | 4096;
  readonly mkfs: string[];
  readonly check: string[];
  readonly shifts: boolean;
  /** A second judge that works on the mounted file system. */
  readonly scrub?: string[];
}

export const FILE_SYSTEMS: FileSystem[] = [
  {
    name: 'ext4',
    sizeBytes: 64n * MIB,
    sectorSize: 4096,
    mkfs: ['mkfs.ext4', '-q', '-E', 'lazy_itable_init=0,nodiscard'],
    check: ['e2fsck', '-fn'],
    shifts: true,
  },
  {
    // Its smallest; without reflinks, with which this kernel's XFS loses data on any disk.
    name: 'xfs',
    sizeBytes: 300n * MIB,
    sectorSize: 512,
    mkfs: ['mkfs.xfs', '-q', '-K', '-m', 'reflink=0'],
    check: ['xfs_repair', '-n'],
    shifts: true,
  },
  {
    name: 'btrfs',
    sizeBytes: 128n * MIB,
    sectorSize: 4096,
    mkfs: ['mkfs.btrfs', '-q', '-K'],
    check: ['btrfs', 'check', '--check-data-csum'],
    shifts: false,
    scrub: ['btrfs', 'scrub', 'start', '-B', '-r'],
  },
];

/** Starts a program; resolves when it has ended well, rejects with what it said. */
export async function ends(...[command = '', ...args]: string[]): Promise<string> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const [out, err, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ]);
  if (code !== 0) throw new Error(`${command} ${args.join(' ')}: ${code}\n${out}${err}`);
  return out;
}
