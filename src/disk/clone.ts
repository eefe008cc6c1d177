/**
 * A file's content in another file: by sharing its extents where the file system can (btrfs, XFS), else by a copy that keeps
 * its holes. coreutils knows how to do either within the kernel.
 */

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { fail } from '../errors.js';

const run = promisify(execFile);

/** Makes `to`, which may exist and is overwritten in place, the same as `from`. DISK_IO. */
export async function cloneFile(from: string, to: string): Promise<void> {
  try {
    await run('cp', ['--reflink=auto', '--sparse=auto', '--', from, to], {
      env: { ...process.env, LC_ALL: 'C' },
    });
  } catch (error) {
    const said = `${(error as { stderr?: string }).stderr ?? ''}`.trim().split('\n')[0];
    fail('DISK_IO', { path: to, errno: said || 'cp failed' }, error);
  }
}
