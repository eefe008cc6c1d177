// What is measured: the cases of the load generator, with what fio calls the same.

const small = (title, options) => ({ title, blockBytes: 4096, unit: 'k/s', ...options });
const large = (title, options) => ({ title, depth: 8, unit: 'GB/s', ...options });

export const CASES = [
  small('4k random read, depth 32', { id: 'randread-4k-d32', random: true, depth: 32 }),
  small('4k random read, depth 32, 4 connections', {
    id: 'randread-4k-d32-c4',
    random: true,
    depth: 32,
    connections: 4,
  }),
  small('4k random write, depth 32', { id: 'randwrite-4k-d32', random: true, write: true, depth: 32 }),
  small('4k random read, depth 1', { id: 'randread-4k-d1', random: true, depth: 1 }),
  small('4k random write, depth 1', { id: 'randwrite-4k-d1', random: true, write: true, depth: 1 }),
  large('256k sequential read, depth 8', { id: 'read-256k-d8', blockBytes: 256 * 1024 }),
  large('256k sequential write, depth 8', { id: 'write-256k-d8', blockBytes: 256 * 1024, write: true }),
  large('1M sequential read, depth 8', { id: 'read-1M-d8', blockBytes: 1024 * 1024 }),
  large('1M sequential write, depth 8', { id: 'write-1M-d8', blockBytes: 1024 * 1024, write: true }),
];

export const caseOf = (id) => CASES.find((one) => one.id === id);

/** Arguments of the load generator. */
export function loadArguments({ blockBytes, depth, connections = 1, write = false, random = false }) {
  const flags = [...(write ? ['--write'] : []), ...(random ? ['--random'] : [])];
  return [...flags, '--block', blockBytes, '--depth', depth, '--connections', connections].map(String);
}

/** Arguments of fio, without its engine. */
export function fioArguments({ blockBytes, depth, write = false, random = false }) {
  return [
    `--rw=${random ? 'rand' : ''}${write ? 'write' : 'read'}`,
    `--bs=${blockBytes}`,
    `--iodepth=${depth}`,
  ];
}

/** Requests per second in the unit that the case is read in. */
export const inUnit = ({ unit, blockBytes }, perSecond) =>
  unit === 'k/s' ? perSecond / 1e3 : (perSecond * blockBytes) / 1e9;
