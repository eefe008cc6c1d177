/**
 * A process of its own that uses a KMS folder, for the tests of several processes. It tells each answer to its parent
 * on a line of standard output, written before the next call begins.
 *
 *   worker.js <kms folder> <task> [arguments]
 */

import { writeSync } from 'node:fs';
import { LocalKms } from '#sealdisk/kms/local/local-kms.js';
import { rotateRoot } from '#sealdisk/kms/local/root/rotate.js';

const [dir = '', task = '', ...rest] = process.argv.slice(2);
const kms = LocalKms.open(dir);
const tell = (answer: unknown): void => void writeSync(1, `${JSON.stringify(answer)}\n`);

const TASKS: Record<string, () => Promise<void>> = {
  /** Names the service key and tells its id. */
  async service() {
    tell(await kms.resolve('alias/acs/ecs'));
  },
  /** Makes `count` keys with aliases of its own and tells each. */
  async create() {
    const [name, count] = rest;
    for (let i = 0; i < Number(count); i++)
      tell((await kms.createKey({ alias: `alias/${name}-${i}` })).keyId);
  },
  /** Makes a key, then changes it for ever: alias, disable, enable, rotate. Tells what it begins and what was answered. */
  async churn() {
    for (let i = 0; ; i++) {
      const alias = `alias/${rest[0]}-${i}`;
      const step = async (change: Promise<{ keyId: string; state: string; primaryVersion: string }>) => {
        const { keyId, state, primaryVersion } = await change;
        tell({ alias, keyId, state, primaryVersion });
      };
      await step(kms.createKey({ alias }));
      await step(kms.rotateKey(alias));
      await step(kms.disableKey(alias));
      await step(kms.enableKey(alias));
      await step(kms.disableKey(alias));
    }
  },
  /** Describes a key and tells how many ms that took, the opening of the store included. */
  async first() {
    const startMs = performance.now();
    await kms.describeKey(rest[0] ?? '');
    tell(performance.now() - startMs);
  },
  /** Gives the store `count` root keys, one after the other, and tells each. */
  async rotateRoot() {
    for (let i = 0; i < Number(rest[0]); i++) tell(await rotateRoot(dir, undefined));
  },
  /** Generates and unwraps, tells the plaintext with every bit turned, keeps it, and waits for its end. */
  async hold() {
    const made = await kms.generateDataKey('alias/acs/ecs', 64, {});
    const again = await kms.decrypt(made.ciphertext, {});
    tell([...made.plaintext].map((byte) => byte ^ 0xff));
    await new Promise((end) => process.stdin.once('data', end));
    tell(made.plaintext.equals(again.plaintext));
  },
};

await TASKS[task]?.();
