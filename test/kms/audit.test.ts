/** The chain of the audit log: what was altered, taken out or cut off shows; what a killed writer left is told apart. */

import { appendFile, open, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { appendAudit } from '#sealdisk/kms/local/audit.js';
import { readHeads, writeHead } from '#sealdisk/kms/local/audit-head.js';
import { readAudit, verifyAudit } from '#sealdisk/kms/local/audit-verify.js';
import { LocalKms } from '#sealdisk/kms/local/local-kms.js';
import { loadRootKey } from '#sealdisk/kms/local/root-key.js';
import { freeSecret } from '#sealdisk/kms/local/secret.js';
import { tempPool } from './pool.js';

async function logged(t: Test) {
  const dir = join(await tempPool(t), 'kms');
  const kms = LocalKms.open(dir);
  const { keyId } = await kms.createKey({ alias: 'alias/x' });
  for (let i = 0; i < 5; i++) await kms.rotateKey(keyId);
  const path = join(dir, 'audit.log');
  const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
  const putLines = (all: string[]) => writeFile(path, `${all.join('\n')}\n`);
  return { dir, kms, keyId, path, lines, putLines };
}

t.test('a whole log is whole, and each line names who, what, which key and how it ended', async (t) => {
  const { dir, kms, keyId } = await logged(t);
  await kms.disableKey(keyId, { caller: 'access-key SDAK' });
  await kms.rotateKey(keyId).catch(() => undefined);
  t.same(await verifyAudit(dir), { ok: true, lines: 8, unsealed: 0, lost: 0 });
  const read = [];
  for await (const line of readAudit(dir)) read.push(line);
  t.match(read[6], { seq: 7, who: 'access-key SDAK', operation: 'DisableKey', key: keyId, outcome: 'ok' });
  t.match(read[7], { who: `uid ${process.getuid?.()}`, operation: 'RotateKey', outcome: 'KMS_STATE' });
});

t.test('a line altered, taken out, put in or moved shows, and where', async (t) => {
  const { dir, lines, putLines } = await logged(t);
  const flaws: [string, string[], number][] = [
    ['altered', lines.with(2, (lines[2] as string).replace('"ok"', '"no"')), 4],
    ['taken out', lines.toSpliced(2, 1), 3],
    ['put in', lines.toSpliced(2, 0, lines[1] as string), 3],
    ['moved', lines.with(2, lines[3] as string).with(3, lines[2] as string), 3],
    ['the first taken out', lines.slice(1), 1],
    ['the last altered', lines.with(5, (lines[5] as string).replace('"ok"', '"no"')), 6],
    ['no line', lines.with(2, 'x'), 4],
  ];
  for (const [what, all, line] of flaws) {
    await putLines(all);
    t.match(await verifyAudit(dir), { ok: false, line }, what);
  }
  await putLines(lines);
  t.match(await verifyAudit(dir), { ok: true });
});

t.test('a tail that was cut off shows, also after more was written', async (t) => {
  for (const left of [5, 1, 0]) {
    const { dir, kms, keyId, path, lines, putLines } = await logged(t);
    if (left > 0) await putLines(lines.slice(0, left));
    else await truncate(path);
    t.match(await verifyAudit(dir), { ok: false, line: left, why: /sealed head says that there were 6/ });
    await kms.disableKey(keyId);
    t.match(await verifyAudit(dir), {
      ok: false,
      line: left + 1,
      why: new RegExp(`${6 - left} lines before`),
    });
  }
});

t.test('a log or a head that is gone shows, also after more was written', async (t) => {
  for (const name of ['audit.log', 'audit.head']) {
    const { dir, kms, keyId } = await logged(t);
    await rm(join(dir, name));
    t.match(await verifyAudit(dir), { ok: false }, name);
    await kms.disableKey(keyId);
    t.match(await verifyAudit(dir), { ok: false }, `${name}, and a line`);
  }
});

t.test('a head put back with the log of its time is one line behind at most', async (t) => {
  const { dir, kms, keyId } = await logged(t);
  const head = await readFile(join(dir, 'audit.head'));
  await kms.disableKey(keyId);
  await writeFile(join(dir, 'audit.head'), head); // as if killed between line and head
  t.same(await verifyAudit(dir), { ok: true, lines: 7, unsealed: 1, lost: 0 });
  await LocalKms.open(dir).enableKey(keyId);
  t.match(await verifyAudit(dir), { ok: true });
});

t.test(
  'what a killed writer left is taken up: a line without its head, a line without its end',
  async (t) => {
    const { dir, path } = await logged(t);
    const entry = { operation: 'Test', key: '', outcome: 'ok' };
    await appendAudit(dir, entry, false);
    await appendFile(path, '{"seq":8,"ti');
    t.match(await verifyAudit(dir), { ok: true, lines: 7 }, 'as it was left');
    await appendAudit(dir, entry, false);
    t.same(await verifyAudit(dir), { ok: true, lines: 9, unsealed: 0, lost: 0 });
    await appendFile(path, 'rubbish\n');
    t.match(await verifyAudit(dir), { ok: false, line: 11 });
  },
);

t.test('lines that come together are written in the order in which they came', async (t) => {
  const { dir } = await logged(t);
  const names = Array.from({ length: 300 }, (_, i) => `Test${i}`);
  await Promise.all(names.map((operation) => appendAudit(dir, { operation, key: '', outcome: 'ok' }, false)));
  const read = [];
  for await (const { operation } of readAudit(dir)) read.push(operation);
  t.same(read.slice(6), names);
  t.match(await verifyAudit(dir), { ok: true, lines: 306 });
});

const USE = { operation: 'Test', key: '', outcome: 'ok' };

/** A log of six synced lines and three that are not; then `left` of them are there, and the machine is another boot's. */
async function afterPower(t: Test, left: number, sameBoot = false) {
  const { dir, path } = await logged(t);
  for (let i = 0; i < 3; i++) await appendAudit(dir, USE, false);
  const root = await loadRootKey(dir);
  const [newest] = await readHeads(dir, [root]);
  if (newest === undefined) throw new Error('no head');
  t.match(newest.head, { seq: 9, syncedSeq: 6 });
  const file = await open(join(dir, 'audit.head'), 'r+');
  const { head, slot } = newest;
  await writeHead(file, slot, sameBoot ? head : { ...head, boot: 'the one before' }, root);
  await file.close();
  freeSecret(root);
  const lines = (await readFile(path, 'utf8')).split('\n');
  await writeFile(path, lines.slice(0, left).join('\n') + (left > 0 ? '\n' : ''));
  return { dir, path };
}

t.test('lines that were not synced may go with the power, and that is told', async (t) => {
  for (const left of [8, 6]) {
    const { dir, path } = await afterPower(t, left);
    const lost = 9 - left;
    t.same(await verifyAudit(dir), { ok: true, lines: left, unsealed: 0, lost }, 'before a writer came');
    await appendAudit(dir, USE, false);
    t.same(await verifyAudit(dir), { ok: true, lines: left + 2, unsealed: 0, lost }, 'and after');
    const repair = JSON.parse((await readFile(path, 'utf8')).split('\n')[left] as string);
    t.match(repair, { seq: 10, operation: 'AuditRepair', repair: { lost, powerFailure: true } });
  }
});

t.test('a line that was synced, and one of this run of the machine, do not go with the power', async (t) => {
  for (const { dir } of [await afterPower(t, 5), await afterPower(t, 8, true)]) {
    t.match(await verifyAudit(dir), { ok: false }, 'before a writer came');
    await appendAudit(dir, USE, false);
    t.match(await verifyAudit(dir), { ok: false, why: /lines before it were gone/ }, 'and after');
  }
});

t.test('half a line that the power left is taken up with what it took', async (t) => {
  const { dir, path } = await afterPower(t, 7);
  await appendFile(path, '{"seq":8,"ti');
  t.match(await verifyAudit(dir), { ok: true, lines: 7, lost: 2 });
  await appendAudit(dir, USE, false);
  t.same(await verifyAudit(dir), { ok: true, lines: 9, unsealed: 0, lost: 2 });
});
