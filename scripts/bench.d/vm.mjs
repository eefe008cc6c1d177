// In a guest of scripts/vm: fio on /dev/nbd0 of sealdisk beside fio on dm-crypt over a loop device, both on the guest's disk.

import { CASES, fioArguments, inUnit } from './cases.mjs';
import { median } from './report.mjs';
import { run } from './servers.mjs';

const ROUNDS = 3;
const SECONDS = 2;
const SIZE = '128M';
const IDS = ['randread-4k-d32', 'randwrite-4k-d32', 'randread-4k-d1', 'read-1M-d8', 'write-1M-d8'];

const LINE = `
set -e
export SEALDISK_POOL=$VM_SCRATCH/pool
mkdir -p "$SEALDISK_POOL"
node dist/bin/sealdisk.cjs create "$VM_SCRATCH/a.disk" --size ${SIZE} >/dev/null
nbd=$(node dist/bin/sealdisk.cjs attach "$VM_SCRATCH/a.disk" --no-standby | tail -n 1)
truncate -s ${SIZE} "$VM_SCRATCH/b.img" && truncate -s +16M "$VM_SCRATCH/b.img"
loop=$(losetup -f --show "$VM_SCRATCH/b.img")
format="--type luks2 --cipher aes-xts-plain64 --key-size 512 --sector-size 4096 --pbkdf pbkdf2 --pbkdf-force-iterations 1000"
printf benchmark | cryptsetup luksFormat -q $format "$loop" -
printf benchmark | cryptsetup open --key-file - "$loop" bench
measure() {
  fio --name=job --ioengine=libaio --direct=1 --filename="$1" --size=${SIZE} --time_based --runtime="$2" --minimal "\${@:4}" |
    awk -F';' -v of="$3" '{ print "@@", of, ($8 > $49 ? $8 : $49) }'
}
for device in "$nbd" /dev/mapper/bench; do measure "$device" 3 "fill $device" --rw=write --bs=1M --iodepth=4; done
CASES
cryptsetup close bench
losetup -d "$loop"
node dist/bin/sealdisk.cjs detach "$nbd" >/dev/null
`;

/** A section of the page. */
export function vmTable() {
  const cases = IDS.map((id) => CASES.find((one) => one.id === id));
  const lines = Array.from({ length: ROUNDS }, () =>
    cases.flatMap((what) =>
      [
        ['nbd', '"$nbd"'],
        ['dm', '/dev/mapper/bench'],
      ].map(
        ([name, device]) =>
          `measure ${device} ${SECONDS} "${what.id} ${name}" ${fioArguments(what).join(' ')}`,
      ),
    ),
  );
  const line = LINE.replace('CASES', () => lines.flat().join('\n'));
  const out = run('scripts/vm', ['--mem', '1G', '--timeout', '400', line], { timeout: 420_000 });
  const rows = cases.map((what) => {
    const of = (name) =>
      median(
        [...out.matchAll(new RegExp(`^@@ ${what.id} ${name} (\\d+)$`, 'gm'))].map(([, iops]) => Number(iops)),
      );
    const [nbd, dm] = [of('nbd'), of('dm')];
    const shown = [nbd, dm].map((iops) => `${inUnit(what, iops).toFixed(2)} ${what.unit}`);
    return `| ${what.title} | ${shown.join(' | ')} | **${(nbd / dm).toFixed(2)}** |`;
  });
  return [
    '## In a virtual machine: `/dev/nbd0` beside dm-crypt on a loop device',
    '',
    "User-mode Linux has one slow processor, which fio, the kernel's driver and our server share, and a system call costs it tens of " +
      'microseconds; dm-crypt needs none. Only the ratio says something, and only of such a machine.',
    '',
    '| case | sealdisk | dm-crypt | ratio |',
    '|---|---|---|---|',
    ...rows,
  ].join('\n');
}
