// What one connection's stream does to another's small reads.

import { fill, load } from './measure.mjs';
import { median } from './report.mjs';
import { start } from './servers.mjs';

const SMALL = { blockBytes: 4096, random: true, depth: 1 };
const STREAM = { blockBytes: 1024 * 1024, depth: 32 };
const ROUNDS = 3;
const SECONDS = 1;

/** A section of the page. */
export async function fairnessTable(servers, dir) {
  const rows = [];
  for (const server of servers) {
    const running = await start(server, dir, '512M');
    await fill(running);
    const [alone, beside] = [[], []];
    for (let round = 0; round < ROUNDS; round++) {
      alone.push((await load(running, SMALL, SECONDS)).p99Us);
      const [small] = await Promise.all([
        load(running, SMALL, SECONDS),
        load(running, STREAM, SECONDS + 0.3),
      ]);
      beside.push(small.p99Us);
    }
    await running.stop();
    const [quiet, loud] = [median(alone), median(beside)];
    rows.push(
      `| ${server.name} | ${quiet.toFixed(0)} µs | ${loud.toFixed(0)} µs | ${(loud / quiet).toFixed(1)} |`,
    );
  }
  return [
    '## Fairness',
    '',
    "p99 of 4k random reads at depth 1 on one connection, alone and beside another's sequential 1M reads at depth 32; both clients " +
      'run on the same processors as the server.',
    '',
    '| server | alone | beside the stream | times |',
    '|---|---|---|---|',
    ...rows,
  ].join('\n');
}
