/**
 * Whether a program may be trusted with keys: it and every folder above it belong to root or to us, and nobody else may
 * write them, as sshd asks of its helper programs. So nobody but root and us can put another in its place, also not
 * between this look and its start.
 */

import { constants } from 'node:fs';
import { access, lstat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf } from '../../../errors.js';

const OTHERS_MAY_WRITE = 0o022;
const STICKY = 0o1000;

/** Why the program is not to be run; undefined when it may be. */
export async function distrust(program: string): Promise<string | undefined> {
  try {
    for (let path = program; ; path = dirname(path)) {
      const why = await distrustPart(path, path === program);
      if (why !== undefined) return `${path} ${why}`;
      if (path === '/') break;
    }
    await access(program, constants.X_OK);
    return undefined;
  } catch (error) {
    return `${program}: ${errnoOf(error)}`;
  }
}

async function distrustPart(path: string, isProgram: boolean): Promise<string | undefined> {
  const stat = await lstat(path);
  if (stat.isSymbolicLink()) return 'is a symbolic link: name what it leads to';
  if (isProgram ? !stat.isFile() : !stat.isDirectory()) return isProgram ? 'is no file' : 'is no folder';
  if (stat.uid !== 0 && stat.uid !== process.geteuid?.()) return 'belongs to neither root nor us';
  // In a sticky folder others may make files, but not rename or remove what is ours.
  const kept = !isProgram && (stat.mode & STICKY) !== 0;
  return (stat.mode & OTHERS_MAY_WRITE) !== 0 && !kept ? 'can be written by others' : undefined;
}
