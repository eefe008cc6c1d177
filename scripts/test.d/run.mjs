// Runs test programs: each as a process of its own here, or many in a row in one guest.
//
// A program is { name, command, timeoutS }; its process group ends with it, so that nothing it started outlives it.

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { ProgramReport } from './report.mjs';

const GUEST_BOOT_S = 60;
const OOPS = /Kernel panic|BUG:|Oops|WARNING: CPU/;

/** Calls `onLine` for every line of stdout and stderr, resolves with how the process ended. */
function run(command, timeoutS, onLine) {
  return new Promise((resolve) => {
    const child = spawn(command[0], command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    const kill = (signal) => {
      try {
        process.kill(-child.pid, signal);
      } catch {
        // The group is gone already.
      }
    };
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      kill('SIGTERM');
      setTimeout(() => kill('SIGKILL'), 3000).unref();
    }, timeoutS * 1000);
    const onExit = () => kill('SIGTERM');
    process.once('exit', onExit);
    child.once('exit', () => kill('SIGTERM'));
    for (const stream of [child.stdout, child.stderr]) createInterface({ input: stream }).on('line', onLine);
    child.once('error', (error) => resolve(`it did not start: ${error.message}`));
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      process.off('exit', onExit);
      resolve(late ? `it took longer than ${timeoutS} s` : (code ?? `it was ended by ${signal}`));
    });
  });
}

/** Runs `programs` here, `jobs` at a time, and gives each report to `done`. */
export async function runHere(programs, jobs, done, onLine) {
  const queue = [...programs];
  const worker = async () => {
    for (let program = queue.shift(); program; program = queue.shift()) {
      const report = new ProgramReport(program.name);
      report.end(
        await run(program.command, program.timeoutS, (text) => {
          report.line(text);
          onLine(text);
        }),
      );
      done(report);
    }
  };
  await Promise.all(Array.from({ length: jobs }, worker));
}

const quoted = (word) => `'${word.replaceAll("'", `'\\''`)}'`;

/** Runs `programs` one after the other in one boot of scripts/vm. A guest that dies fails the program that ran. */
export async function runInGuest(programs, done, onLine) {
  const steps = programs.map((program, i) => {
    const command = program.command.map(quoted).join(' ');
    return `echo '@@start ${i}'; timeout -k 5 ${program.timeoutS} ${command} 2>&1; echo "@@end $?"`;
  });
  const totalS = programs.reduce((sum, program) => sum + program.timeoutS, GUEST_BOOT_S);
  const log = 'build/vm-kernel.log';
  const guest = ['scripts/vm', '--mem', '1G', '--log', log, '--timeout', String(totalS), steps.join('\n')];
  const guestItself = new ProgramReport('vm/guest');
  let report;
  let next = 0;
  const ending = await run(guest, totalS + 10, (text) => {
    const mark = /^@@(start|end) (\d+)$/.exec(text);
    if (mark?.[1] === 'start') {
      report = new ProgramReport(programs[next++].name);
    } else if (mark) {
      report.end(Number(mark[2]));
      done(report);
      report = undefined;
    } else {
      (report ?? guestItself).line(text);
      onLine(text);
    }
  });
  if (report) {
    report.end(`the guest ended while it ran (${ending})`);
    done(report);
  }
  judgeGuest(guestItself, ending, programs.length - next, log);
  done(guestItself);
}

/** The guest is a test, too: it ran everything, ended well, and its kernel complained of nothing. */
function judgeGuest(report, ending, notRun, log) {
  const complaints = readFileSync(log, 'utf8')
    .split('\n')
    .filter((text) => OOPS.test(text));
  for (const text of complaints) report.line(text);
  const well = ending === 0 && notRun === 0 && complaints.length === 0;
  report.line(`${well ? 'ok' : 'not ok'} 1 - the guest ran everything and its kernel complained of nothing`);
  if (ending !== 0)
    report.line(`# scripts/vm: ${ending}, ${notRun} programs did not run; kernel log: ${log}`);
  report.line('1..1');
  report.end(0);
}
