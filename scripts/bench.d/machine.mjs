// Where and with what was measured.

import { readFileSync } from 'node:fs';
import { availableParallelism, release } from 'node:os';
import { run } from './servers.mjs';

const firstLine = (file, ...args) => run(file, args).split('\n')[0].trim();
const nbdkitVersion = () =>
  firstLine('nbdkit', '--version').replace(/ .*$/, (rest) => ` ${rest.trim().split(' ')[0]}`);

export function machine() {
  const [, model = 'unknown processor'] =
    /model name\s*: (.*)/.exec(readFileSync('/proc/cpuinfo', 'utf8')) ?? [];
  const changed = run('git', ['status', '--porcelain', '--', 'src', 'native']) !== '';
  return {
    processor: model,
    processors: availableParallelism(),
    kernel: release(),
    node: process.version,
    nbdkit: nbdkitVersion(),
    qemu: / ([\d.]+)/.exec(firstLine('qemu-nbd', '--version'))?.[1],
    fio: firstLine('fio', '--version'),
    commit: run('git', ['rev-parse', '--short', 'HEAD']).trim() + (changed ? ' with changes' : ''),
    date: new Date().toISOString().slice(0, 10),
  };
}

/** One sentence of it. */
export const describe = (m, rounds, seconds) =>
  `${m.date}, commit ${m.commit}. ${m.processor}, ${m.processors} processors, Linux ${m.kernel}; Node ${m.node}, ${m.nbdkit}, qemu-nbd ${m.qemu}, ${m.fio}. ` +
  `Medians of ${rounds} rounds of ${seconds} s, ± half of the distance between the best and the worst.`;
