/**
 * A writer that is going to be killed: it uses a KMS folder for ever, and tells each answer on a line of standard output
 * before its next call begins. Bundled into one file by kills.test.ts, for many are started.
 *
 *   kill-worker.cjs <kms folder> <name> [rotate]
 */

import { writeSync } from 'node:fs';
import { LocalKms } from '#sealdisk/kms/local/local-kms.js';
import { rotateRoot } from '#sealdisk/kms/local/root/rotate.js';
import { freeSecret } from '#sealdisk/kms/local/secret.js';

const [dir = '', name = '', task] = process.argv.slice(2);
const kms = LocalKms.open(dir);
const tell = (answer: unknown): void => void writeSync(1, `${JSON.stringify(answer)}\n`);

/** One key after the other: made, used, changed. Each answer counts the lines that the audit log has of the key since. */
async function churn(): Promise<never> {
  for (let i = 0; ; i++) {
    const alias = `alias/${name}-${i}`;
    let lines = 0;
    const step = async (change: Promise<{ keyId: string; state: string; primaryVersion: string }>) => {
      const { keyId, state, primaryVersion } = await change;
      tell({ alias, keyId, state, primaryVersion, lines: ++lines });
    };
    await step(kms.createKey({ alias }));
    const { plaintext, ciphertext } = await kms.generateDataKey(alias, 64, { alias });
    lines++;
    await step(kms.rotateKey(alias));
    freeSecret((await kms.decrypt(ciphertext, { alias })).plaintext);
    lines++;
    await step(kms.disableKey(alias));
    await step(kms.enableKey(alias));
    tell({ alias, ciphertext: ciphertext.toString('base64'), plaintext: plaintext.toString('base64') });
  }
}

/** One root key after the other. */
async function rotate(): Promise<never> {
  for (;;) tell(await rotateRoot(dir, undefined));
}

void (task === 'rotate' ? rotate() : churn());
