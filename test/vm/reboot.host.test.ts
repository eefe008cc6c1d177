/** A machine that reboots while its key is disabled: its disk does not attach, and after enable it does. Two boots of one guest. */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';

const TIMEOUT_S = 300;
const PRELUDE = `
set -e
sealdisk() { node dist/bin/sealdisk.cjs "$@"; }
disk=$SEALDISK_POOL/data.disk
mkdir -p "$SEALDISK_POOL" /run/data
`;

/** The plug is pulled while the disk is mounted and hangs: only what fsync acknowledged has to be there. */
const BEFORE = `${PRELUDE}
sealdisk key create --alias reboot
sealdisk create "$disk" --size 48M --key alias/reboot
device=$(sealdisk attach "$disk" --key-check-interval 1s)
mkfs.ext4 -q "$device"
mount "$device" /run/data
dd if=/dev/urandom of=/run/data/file bs=1M count=6 conv=fsync status=none
sync /run/data
sha256sum /run/data/file >"$VM_SCRATCH/sum"
sealdisk key disable alias/reboot --yes
until [[ $(sealdisk list --json) == *'"gate": "hung"'* ]]; do :; done
`;

const AFTER = `${PRELUDE}
sealdisk attach "$disk" && exit 99
echo "refused $?"
ls -A /run/sealdisk
sealdisk key enable alias/reboot
device=$(sealdisk attach "$disk")
mount "$device" /run/data
sha256sum -c "$VM_SCRATCH/sum"
umount /run/data
fsck.ext4 -fn "$device"
sealdisk detach "$disk"
`;

t.test(
  'after a reboot a disk whose key is disabled is refused, and after enable its data is there',
  async (t) => {
    const dir = mkdtempSync(join(tmpdir(), 'reboot-'));
    t.teardown(() => rmSync(dir, { recursive: true, force: true }));
    const boot = (line: string) =>
      spawnSync('scripts/vm', ['--timeout', `${TIMEOUT_S}`, '--disk', join(dir, 'machine.img'), line], {
        encoding: 'utf8',
      });
    const first = boot(BEFORE);
    t.equal(first.status, 0, first.stderr);
    const second = boot(AFTER);
    t.equal(second.status, 0, second.stderr);
    t.match(second.stderr, /^sealdisk: key local:alias\/reboot is disabled; /m);
    t.match(second.stdout, /^refused 5\n[0-9a-f-]{36} is enabled\n/, 'and nothing was left in /run/sealdisk');
    t.match(second.stdout, /^\/run\/data\/file: OK$/m);
  },
);
