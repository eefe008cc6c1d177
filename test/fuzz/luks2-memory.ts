/**
 * Reads the header of the first file named, after that of the second, and prints what that cost at its peak, in bytes: a process of its own, so that the
 * kernel's high-water mark is this reading's alone. Used by luks2.test.ts.
 */

import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { isFailure } from '#sealdisk/errors.js';
import { readHeader } from '#sealdisk/luks2/copies.js';

const [, , path, smallPath] = process.argv as [string, string, string, string];
await outcomeOf(smallPath); // loads and compiles what reading needs
globalThis.gc?.();
writeFileSync('/proc/self/clear_refs', '5'); // the mark begins anew (proc(5))
const before = statusBytes('VmRSS');
const code = await outcomeOf(path);
process.stdout.write(`${JSON.stringify({ code, peakBytes: statusBytes('VmHWM') - before })}\n`);

async function outcomeOf(path: string): Promise<string> {
  const fd = openSync(path, 'r');
  try {
    await readHeader(fd, path);
    return 'opened';
  } catch (error) {
    if (isFailure(error)) return error.code;
    throw error;
  } finally {
    closeSync(fd);
  }
}

function statusBytes(name: 'VmRSS' | 'VmHWM'): number {
  const [, kib] = new RegExp(`${name}:\\s+(\\d+) kB`).exec(readFileSync('/proc/self/status', 'latin1')) ?? [];
  return Number(kib) * 1024;
}
