// The order of a test run: suite after suite, a line for each program, the sum at the end. Nothing runs beside a guest, which
// takes three times as long beside busy processors. See scripts/test.

import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { runHere, runInGuest } from './run.mjs';
import { select, suites } from './suites.mjs';

// tap ends a test file after 30 s when nobody says otherwise; the limit of a file here is the program's own.
process.env.TAP_TIMEOUT ??= '0';
// No colours in what is parsed.
process.env.TAP ??= '1';

const say = (text) => process.stdout.write(text);
const verbose = process.argv.includes('-v');
const wanted = process.argv.slice(2).filter((word) => word !== '-v');

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(1));

const total = { passed: 0, failed: 0, skipped: 0 };
const done = (report) => {
  for (const count of Object.keys(total)) total[count] += report[count];
  say(report.render());
};
const onLine = verbose ? (text) => say(`     ${text}\n`) : () => {};

/** The programs whose needs are met; one whose needs cannot be made has failed. */
function ready(programs) {
  return programs.filter(({ name, needs }) => {
    if (needs === undefined) return true;
    const made = spawnSync(needs[0], needs.slice(1), { encoding: 'utf8' });
    if (made.status === 0) return true;
    total.failed++;
    say(`FAIL ${name}  ${needs.join(' ')}\n${made.stderr}`);
    return false;
  });
}

async function runSuite(suite) {
  if (suite.programs.length === 0) return;
  say(`--- ${suite.name}\n`);
  if (suite.where === 'guest') await runInGuest(suite.programs, done, onLine);
  else await runHere(suite.programs, Math.min(suite.jobs, availableParallelism() + 1), done, onLine);
}

mkdirSync('build', { recursive: true });
const chosen = select(suites(), wanted).map((suite) => ({ ...suite, programs: ready(suite.programs) }));
for (const suite of chosen) await runSuite(suite);

if (total.skipped > 0) say(`${total.skipped} skipped\n`);
if (total.passed + total.failed === 0) say('no test ran\n');
say(`${total.passed} passed, ${total.failed} failed\n`);
process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0;
