// The order of a test run: what runs here, suite after suite, then the guest, a line for each program, the sum at the end. A guest
// beside busy processors takes three times as long: only tests that boot guests of their own run beside it. See scripts/test.

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

/** Runs the suites in their order. */
async function runLane(lane) {
  for (const suite of lane) {
    if (suite.programs.length === 0) continue;
    say(`--- ${suite.name}\n`);
    if (suite.where === 'guest') await runInGuest(suite.programs, done, onLine);
    else await runHere(suite.programs, Math.min(suite.jobs, availableParallelism()), done, onLine);
  }
}

mkdirSync('build', { recursive: true });
const chosen = select(suites(), wanted).map((suite) => ({ ...suite, programs: ready(suite.programs) }));
const lane = (where) => runLane(chosen.filter((suite) => suite.where === where));
await lane('here');
await Promise.all([lane('guest'), lane('beside')]);

if (total.skipped > 0) say(`${total.skipped} skipped\n`);
if (total.passed + total.failed === 0) say('no test ran\n');
say(`${total.passed} passed, ${total.failed} failed\n`);
process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0;
