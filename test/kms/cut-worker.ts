/**
 * One long change of a KMS folder, which is going to be cut: it tells its answer on a line of standard output. Bundled into
 * one file by cuts.test.ts, for many are started.
 *
 *   cut-worker.cjs <rotate|backup|restore|import> <folder of one cut>
 */

import { readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { backup, restore } from '#sealdisk/kms/local/backup.js';
import { LocalKms } from '#sealdisk/kms/local/local-kms.js';
import { rotateRoot } from '#sealdisk/kms/local/root/rotate.js';
import { allocSecret } from '#sealdisk/kms/local/secret.js';

export function phrase() {
  const secret = allocSecret(6);
  secret.write('secret');
  return secret;
}

/** Next to no work: the file says so, and a restore does as it says. */
export const CHEAP = { salt: Buffer.alloc(16, 1).toString('base64'), passes: 1, memoryBytes: 8192 };

/** What is done in the folder `at`, where `kms` is the store. */
export const TASKS = {
  rotate: (at: string) => rotateRoot(join(at, 'kms'), undefined),
  backup: (at: string) => backup(join(at, 'kms'), join(at, 'new.backup'), phrase(), CHEAP),
  restore: (at: string) => restore(join(at, 'restored'), join(at, 'kms.backup'), phrase(), { kind: 'file' }),
  import: (at: string) => {
    const { importToken, wrapped } = JSON.parse(readFileSync(join(at, 'import.json'), 'utf8'));
    return LocalKms.open(join(at, 'kms')).importMaterial('alias/imported', {
      importToken: Buffer.from(importToken, 'base64'),
      wrapped: Buffer.from(wrapped, 'base64'),
      expiresAt: '2100-01-01T00:00:00.000Z',
    });
  },
};
export type Task = keyof typeof TASKS;

const [, , task, at = ''] = process.argv;
if (task !== undefined && task in TASKS) {
  void TASKS[task as Task](at).then((answer) => writeSync(1, `${JSON.stringify(answer)}\n`));
}
