// Bulk work on files, beside the programs that do the like: copying into an encrypted disk, and another data key in place.

import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const MIB_COUNT = 512;
const MAIN = fileURLToPath(new URL('../../dist/bin/sealdisk.cjs', import.meta.url));

/** MiB/s of the best round; `prepare` is not measured. */
function best(rounds, prepare, work) {
  let most = 0;
  for (let round = 0; round < rounds; round++) {
    prepare();
    const beganMs = performance.now();
    work();
    most = Math.max(most, MIB_COUNT / ((performance.now() - beganMs) / 1000));
  }
  return most;
}

/** What whole commands do with a file of random bytes in the page cache, everything synced at their end but for dd. */
export function convertTable(dir, rounds = 3) {
  const at = (name) => join(dir, name);
  const env = { ...process.env, SEALDISK_POOL: at('pool') };
  const run = (file, args) => execFileSync(file, args, { env, stdio: ['ignore', 'ignore', 'inherit'] });
  const sealdisk = (...args) => run(process.execPath, [MAIN, ...args]);
  const gone = (name) => () => rmSync(at(name), { force: true });
  run('dd', ['if=/dev/urandom', `of=${at('plain')}`, 'bs=1M', `count=${MIB_COUNT}`, 'status=none']);
  writeFileSync(at('secret'), 'benchmark');
  const keyslot = ['--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000', '--key-file', at('secret')];
  const luks = 'encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10';
  const foreign = () => {
    gone('foreign')();
    run('truncate', ['-s', `${MIB_COUNT + 16}M`, at('foreign')]);
    run('cryptsetup', ['-q', 'luksFormat', ...keyslot, '--key-size', '512', at('foreign')]);
  };
  const speeds = {
    'dd bs=1M': best(rounds, gone('copy'), () =>
      run('dd', [`if=${at('plain')}`, `of=${at('copy')}`, 'bs=1M', 'status=none']),
    ),
    'sealdisk encrypt --to, compared with its source': best(rounds, gone('disk'), () =>
      sealdisk('encrypt', at('plain'), '--to', at('disk')),
    ),
    'qemu-img convert into LUKS': best(rounds, gone('qcow2'), () =>
      run('qemu-img', [
        ...['convert', '--object', `secret,id=s,file=${at('secret')}`, '-f', 'raw', '-O', 'qcow2'],
        ...['-o', luks, at('plain'), at('qcow2')],
      ]),
    ),
    'sealdisk rekey': best(
      rounds,
      () => {},
      () => sealdisk('rekey', at('disk')),
    ),
    'cryptsetup reencrypt': best(rounds, foreign, () =>
      run('cryptsetup', ['-q', 'reencrypt', '--force-offline-reencrypt', ...keyslot, at('foreign')]),
    ),
  };
  const rows = Object.entries(speeds).map(([what, speed]) => `| ${what} | ${Math.round(speed)} |`);
  const head = `Whole commands on a file of ${MIB_COUNT} MiB of random bytes in the page cache; the best of ${rounds}.`;
  return ['## Converting files', '', head, '', '| | MiB/s |', '|---|---|', ...rows].join('\n');
}
