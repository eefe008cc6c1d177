/** A backup brings everything back, opens with its passphrase only, and is refused when one byte of it is another. */

import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { verifyAudit } from '#sealdisk/kms/local/audit-verify.js';
import { backup, restore } from '#sealdisk/kms/local/backup.js';
import { LocalKms } from '#sealdisk/kms/local/local-kms.js';
import { allocSecret } from '#sealdisk/kms/local/secret.js';
import { tempPool } from './pool.js';

t.setTimeout(110_000);

function phrase(text: string) {
  const secret = allocSecret(text.length);
  secret.write(text);
  return secret;
}

async function backedUp(t: Test) {
  const pool = await tempPool(t);
  const kms = LocalKms.open(join(pool, 'kms'));
  await kms.createKey({ alias: 'alias/x', description: 'x'.repeat(5000) });
  const made = await kms.generateDataKey('alias/x', 64, { disk: 'd' });
  const file = join(pool, 'kms.backup');
  await backup(join(pool, 'kms'), file, phrase('secret'));
  return { pool, made, file };
}

const FILE = { kind: 'file' } as const;

t.test('what was backed up is there again, with its names, its past and its data keys', async (t) => {
  const { pool, made, file } = await backedUp(t);
  const root = await readFile(join(pool, 'kms', 'root.key'));
  t.notOk((await readFile(file)).includes(root), 'no root key in the clear');
  const dir = join(pool, 'two', 'kms');
  await restore(dir, file, phrase('secret'), FILE);
  const kms = LocalKms.open(dir);
  t.match(await kms.describeKey('alias/x'), { aliases: ['alias/x'], state: 'enabled' });
  t.ok((await kms.decrypt(made.ciphertext, { disk: 'd' })).plaintext.equals(made.plaintext));
  t.match(await verifyAudit(dir), { ok: true, lines: 5 });
  await t.rejects(restore(dir, file, phrase('secret'), FILE), { code: 'KMS_NOT_EMPTY' });
  await t.rejects(backup(dir, file, phrase('secret')), { code: 'DISK_EXISTS' });
  t.same((await readdir(pool)).sort(), ['kms', 'kms.backup', 'two'], 'nothing is left aside');
});

t.test('a restore over what a killed one left, into an empty folder', async (t) => {
  const { pool, file } = await backedUp(t);
  const dir = join(pool, 'two', 'kms');
  await mkdir(join(`${dir}.restore`, 'keys'), { recursive: true, mode: 0o700 });
  await writeFile(join(`${dir}.restore`, 'root.key'), 'half');
  await mkdir(dir);
  await restore(dir, file, phrase('secret'), FILE);
  t.match(await LocalKms.open(dir).describeKey('alias/x'), { state: 'enabled' });
});

t.test(
  'another passphrase, an altered byte, a cut and a tail are refused, and nothing is restored',
  async (t) => {
    const { pool, file } = await backedUp(t);
    const whole = await readFile(file);
    const altered = (at: number) => {
      const bytes = Buffer.from(whole);
      bytes[at] = (bytes[at] as number) ^ 1;
      return bytes;
    };
    const flaws: [string, Buffer, string][] = [
      ['another passphrase', whole, 'other'],
      ['no backup', altered(0), 'secret'],
      ['the salt', altered(21), 'secret'],
      ['the last byte', altered(whole.length - 1), 'secret'],
      ['cut', whole.subarray(0, -1), 'secret'],
      ['cut to its head', whole.subarray(0, 60), 'secret'],
      ['a tail', Buffer.concat([whole, Buffer.alloc(1)]), 'secret'],
    ];
    for (const [what, bytes, passphrase] of flaws) {
      await writeFile(file, bytes);
      const dir = join(pool, 'two', 'kms');
      await t.rejects(restore(dir, file, phrase(passphrase), FILE), { code: 'KMS_BACKUP' }, what);
      t.same(await readdir(join(pool, 'two')), [], what);
      await rm(join(pool, 'two'), { recursive: true });
    }
  },
);
