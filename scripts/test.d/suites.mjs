// Which programs there are, by suite, and which of them the arguments select.

import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { basename } from 'node:path';

const ROOM_TIMEOUT_S = { unit: 180, interop: 300, vm: 600 };
// A test that boots guests itself; it waits for several of them.
const HOST_TIMEOUT_S = 900;
const NATIVE_TIMEOUT_S = 900;
// Five hundred processes, one after the other's death.
const LONG_TIMEOUT_S = { 'kms/kills.test.js': 600 };
const OWN_SUITE = ['interop', 'vm'];

function filesIn(room) {
  const dir = `dist-test/${room}`;
  if (!existsSync(dir)) return [];
  return readdirSync(dir)
    .filter((file) => file.endsWith('.test.js'))
    .sort()
    .map((file) => `${room}${file}`);
}

function rooms() {
  const entries = readdirSync('dist-test', { withFileTypes: true });
  const dirs = entries.filter((entry) => entry.isDirectory()).map((entry) => `${entry.name}/`);
  return ['', ...dirs.sort()].filter((room) => !OWN_SUITE.includes(room.slice(0, -1)));
}

const nativeMake = (...words) => ['make', '-s', '-j2', '-f', 'native/test/Makefile', ...words];

/** What a program needs to have been made; a guest cannot build as fast as we can. */
const FILES = nativeMake('build/native-test/fast/files_vm');
const NEEDS = {
  'interop/qemu-guest.test.js': ['scripts/qemu-guest'],
  'interop/system-disk.test.js': ['scripts/qemu-guest'],
  'vm/filesystems.test.js': FILES,
  'vm/kernel-clients.test.js': FILES,
};

/** In a guest reading the maps takes a test and each process that it forks a second. */
const mapped = (suite) => (suite === 'vm' ? [] : ['--enable-source-maps']);

const nodeProgram = (suite, file) => ({
  name: file.replace(/\.js$/, ''),
  needs: NEEDS[file],
  command: [process.execPath, ...mapped(suite), `dist-test/${file}`],
  timeoutS: LONG_TIMEOUT_S[file] ?? (file.endsWith('.host.test.js') ? HOST_TIMEOUT_S : ROOM_TIMEOUT_S[suite]),
});

/** Native tests: all programs of a test are built first, with both processors, then scripts/native-test runs them. */
function nativePrograms() {
  const [make, ...list] = nativeMake('list');
  const paths = execFileSync(make, list, { encoding: 'utf8' }).trim().split('\n');
  const tests = [...new Set(paths.map((path) => basename(path)))].filter((test) => !test.endsWith('_vm'));
  return tests.sort().map((test) => ({
    name: `native/${test}`,
    needs: nativeMake(...paths.filter((path) => basename(path) === test)),
    command: ['scripts/native-test', test],
    timeoutS: NATIVE_TIMEOUT_S,
  }));
}

/** Native tests that need the kernel's driver. Without sanitizers: the guest has no room for their shadow memory. */
function nativeGuestPrograms() {
  return readdirSync('native/test')
    .filter((file) => file.endsWith('_vm.cc'))
    .map((file) => file.slice(0, -'.cc'.length))
    .map((test) => ({ test, path: `build/native-test/fast/${test}` }))
    .map(({ test, path }) => ({
      name: `vm/${test}`,
      needs: nativeMake(path),
      command: [path],
      timeoutS: ROOM_TIMEOUT_S.vm,
    }));
}

const STYLE = { name: 'style/lint', command: ['scripts/test.d/style'], timeoutS: 300 };

/**
 * Suites in the order they run; `where` is here or guest. There are more jobs than processors, for a test also waits: for
 * time, and for others.
 */
export function suites() {
  const vm = filesIn('vm/');
  return [
    { name: 'native', where: 'here', jobs: 3, programs: [STYLE, ...nativePrograms()] },
    {
      name: 'unit',
      where: 'here',
      jobs: 3,
      programs: rooms()
        .flatMap(filesIn)
        .map((f) => nodeProgram('unit', f)),
    },
    {
      name: 'interop',
      where: 'here',
      jobs: 2,
      programs: filesIn('interop/').map((f) => nodeProgram('interop', f)),
    },
    {
      name: 'vm',
      where: 'guest',
      programs: [
        ...nativeGuestPrograms(),
        ...vm.filter((file) => !file.endsWith('.host.test.js')).map((f) => nodeProgram('vm', f)),
      ],
    },
    {
      name: 'vm',
      where: 'here',
      jobs: 1,
      programs: vm.filter((file) => file.endsWith('.host.test.js')).map((f) => nodeProgram('vm', f)),
    },
  ];
}

/** A suite by its name, programs by their room or a part of their name; everything when nothing is wanted. */
export function select(all, wanted) {
  if (wanted.length === 0) return all;
  const chosen = (suite, program) =>
    wanted.some(
      (word) => word === suite.name || program.name.startsWith(`${word}/`) || program.name.includes(word),
    );
  return all.map((suite) => ({
    ...suite,
    programs: suite.programs.filter((program) => chosen(suite, program)),
  }));
}
