/** sealdisk kms: the embedded KMS itself, as its keeper sees it. */

import type { Command } from 'commander';
import { registerAccessKey } from './kms-access-key.js';
import { register as audit } from './kms-audit.js';
import { register as backup } from './kms-backup.js';
import { register as root } from './kms-root.js';
import { registerServe } from './kms-serve.js';

type Register = (group: Command) => void;

const COMMANDS: readonly Register[] = [registerServe, registerAccessKey, audit, root, backup];

export function register(program: Command): void {
  const group = program.command('kms').description('keep, watch and serve the embedded KMS');
  for (const each of COMMANDS) each(group);
}
