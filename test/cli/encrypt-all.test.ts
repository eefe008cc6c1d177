/** sealdisk encrypt --all as its user sees it: the plan, the lines, the report, the exit code; and the live table. */

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { LiveTable } from '#sealdisk/cli/live-table.js';
import { createPlain } from '#sealdisk/disk/plain.js';
import { rig } from './rig.js';

t.setTimeout(60_000);

const SIZE_BYTES = 1n << 20n;

t.test('shows what it would do, does it, and reports each disk', async (t) => {
  const { at, json, sealdisk } = rig(t);
  await json('key', 'create', '--alias', 'bar');
  for (const name of ['one', 'two', 'other']) {
    const path = at(`pool/${name}.raw`);
    const tags = { team: name === 'other' ? 'y' : 'x' };
    await createPlain({ path, kind: 'disk', name, source: '', tags }, SIZE_BYTES);
  }
  writeFileSync(at('pool/two'), 'in the way');
  const all = ['encrypt', '--all', '--match', 'team=x', '--key', 'alias/bar'];
  const planned = await sealdisk(...all, '--dry-run');
  t.match(planned.out, /^one +d-[0-9a-f]{20} +1 MiB +to be encrypted$/m);
  t.match(planned.out, /^two .*will fail: .*\[DISK_EXISTS\]$/m);
  t.match(planned.out, /^1 to be encrypted, 1 MiB; .* are free in /m);
  t.notOk(existsSync(at('pool/one')), 'nothing was done');

  const done = await sealdisk(...all, '--report', at('report.json'));
  t.match(done, { code: 8, err: /^two: failed: .*already exists.*\[DISK_EXISTS\]$/m });
  t.match(done.out, /^one: encrypted, 1 MiB in [0-9.]+ s: .*\/one, d-[0-9a-f]{20}$/m);
  t.match(done.out, /^2 plain disks: 1 encrypted, 0 done before, 1 failed$/m);
  t.match(JSON.parse(readFileSync(at('report.json'), 'utf8')), {
    pool: at('pool'),
    keyUri: 'local:alias/bar',
    beganAt: /Z$/,
    seconds: Number,
    disks: [
      { name: 'one', id: /^d-/, newId: /^d-/, sizeBytes: '1048576', seconds: Number, error: null },
      { name: 'two', newId: null, outcome: 'failed', error: { code: 'DISK_EXISTS' } },
    ],
  });
  t.match(await json('info', 'one'), { encrypted: true, source: /^d-/ }, "the name is the new disk's");

  t.match(await sealdisk(...all, '--delete-plain'), { code: 2, err: /\[NOT_CONFIRMED\]/ });
  t.match(await sealdisk('encrypt', 'one', '--all'), { code: 2, err: /there is no one to give/ });
  t.match(await sealdisk(...all, '--report', at('no/report')), { code: 9, err: /ENOENT/ });
});

t.test('the live table keeps what is over above the works that go on', (t) => {
  let screen = '';
  let nowMs = 0;
  const table = new LiveTable(
    true,
    (text) => {
      screen += text;
    },
    () => nowMs,
    () => 40,
  );
  const at = (doneBytes: bigint) => ({ phase: 'copy', doneBytes, totalBytes: 100n }) as const;
  nowMs = 1000;
  table.show('a', at(10n));
  t.equal(screen, 'a: copy 10 %, 10 B of 100 B\n');
  table.show('b', at(20n));
  t.equal(screen.length, 28, 'not more often than an eye follows');
  nowMs = 2000;
  screen = '';
  table.show('b', at(40n));
  const b = 'b: copy 40 %, 40 B of 100 B, 20 B/s, 3 s left'.slice(0, 39);
  t.equal(screen, `\x1b[1A\r\x1b[Ja: copy 10 %, 10 B of 100 B\n${b}\n`);
  screen = '';
  table.end('a', '1 of 2', () => {
    screen += 'a is done\n';
  });
  t.equal(screen, `\x1b[2A\r\x1b[Ja is done\n${b}\n1 of 2\n`);
  screen = '';
  table.end('b', '2 of 2', () => {});
  t.equal(screen, '\x1b[2A\r\x1b[J', 'nothing of it is left in the end');
  t.end();
});
