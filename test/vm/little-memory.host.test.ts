/**
 * A machine of little memory writes more than it has to its disk: the kernel's driver may not use up what is kept free for
 * emergencies, and writeback never stalls. Boots a guest of its own; low-memory.test.ts is about the server's own memory.
 */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';

const TIMEOUT_S = 300;
const MEMORY = '256M';

const LINE = `
set -eo pipefail
sealdisk() { node dist/bin/sealdisk.cjs "$@"; }
noise() { openssl enc -aes-128-ctr -K 00 -iv 00 -in /dev/zero 2>/dev/null | head -c 200M || :; }
disk=$SEALDISK_POOL/data.disk
mkdir -p "$SEALDISK_POOL"
sealdisk key create --alias small
sealdisk create "$disk" --size 200M --key alias/small
device=$(sealdisk attach "$disk")
server=$(pgrep -of -- server-main.cjs)
noise | dd of="$device" bs=1M iflag=fullblock conv=fsync,notrunc status=none
echo 3 >/proc/sys/vm/drop_caches
noise | cmp - "$device"
[[ $(pgrep -of -- server-main.cjs) == "$server" ]]
echo "written, read, and served by one server"
`;

t.test('a machine writes more than its memory to its disk, and reads it back', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'little-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const log = join(dir, 'kernel.log');
  const options = ['--mem', MEMORY, '--timeout', `${TIMEOUT_S}`, '--log', log];
  const ended = spawnSync('scripts/vm', [...options, LINE], { encoding: 'utf8' });
  t.equal(ended.status, 0, ended.stderr);
  t.match(ended.stdout, /^written, read, and served by one server$/m);
  t.notMatch(readFileSync(log, 'utf8'), /Send data failed|page allocation failure|Out of memory/);
  t.end();
});
