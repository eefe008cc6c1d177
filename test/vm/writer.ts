/**
 * A program, `writer.js FILE STOP`: appends numbered records of 4096 bytes, each on stable storage before its number is
 * printed, until STOP exists. An error ends it with its name and exit code 1.
 */

import { existsSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { record } from './record.js';

const [path = '', stop = ''] = process.argv.slice(2);
try {
  const fd = openSync(path, 'a');
  for (let n = 1; !existsSync(stop); n++) {
    writeSync(fd, record(n));
    fsyncSync(fd);
    writeSync(1, `${n}\n`);
  }
} catch (error) {
  writeSync(2, `${(error as NodeJS.ErrnoException).code}\n`);
  process.exitCode = 1;
}
