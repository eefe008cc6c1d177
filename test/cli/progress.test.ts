/** How long work is told of: written over on a terminal, seldom elsewhere, with the rate of the last seconds. */

import t from 'tap';
import { formatTime, lineOf, ProgressLine } from '#sealdisk/cli/progress.js';

const MIB = 1n << 20n;

t.test('a line says share, bytes, rate and time left', async (t) => {
  const progress = { phase: 'copy', doneBytes: 300n * MIB, totalBytes: 1000n * MIB } as const;
  const seen = [
    { atMs: 0, doneBytes: 100n * MIB },
    { atMs: 2000, doneBytes: 300n * MIB },
  ];
  t.equal(lineOf(progress, seen), 'copy 30 %, 300 MiB of 1000 MiB, 100 MiB/s, 7 s left');
  t.equal(lineOf(progress, []), 'copy 30 %, 300 MiB of 1000 MiB');
  t.same([1, 119.2, 121, 7500].map(formatTime), ['1 s', '2 min', '3 min', '2 h 5 min']);
});

t.test('a terminal gets one line, five times a second; anything else a line each five seconds', async (t) => {
  for (const terminal of [true, false]) {
    let nowMs = 0;
    const written: string[] = [];
    const line = new ProgressLine(
      'd',
      terminal,
      (text) => written.push(text),
      () => nowMs,
    );
    for (; nowMs <= 10_000; nowMs += 50) {
      line.show({ phase: 'copy', doneBytes: BigInt(nowMs) * MIB, totalBytes: 10_000n * MIB });
    }
    line.end();
    t.equal(written.length, terminal ? 51 : 2);
    t.ok(written[0]?.startsWith(terminal ? '\r\x1b[Kd: copy 2 %' : 'd: copy 50 %'));
    t.ok(written.at(-1)?.startsWith(terminal ? '\r\x1b[K' : 'd: copy 100 %'));
  }
});
