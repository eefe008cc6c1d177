/** What depends on a key: found by its URI or its id, in pools and in service, and nothing that only looks like it. */

import { mkdirSync, renameSync, truncateSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { usageOf } from '#sealdisk/attach/key-usage.js';
import { takeLock } from '#sealdisk/attach/state.js';
import { diskRig } from '../disk/rig.js';

t.test('finds disks by their headers, in folders of the pool, and says what it cannot read', async (t) => {
  const rig = await diskRig(t);
  process.env.SEALDISK_RUN = rig.at('run');
  t.teardown(() => delete process.env.SEALDISK_RUN);
  await rig.create('one');
  await rig.create('two');
  mkdirSync(rig.at('folder'));
  renameSync(rig.at('two'), rig.at('folder/two'));
  await rig.create('cut');
  truncateSync(rig.at('cut'), 5_000);
  writeFileSync(rig.at('notes'), 'no disk\n'.repeat(5_000));
  t.ok(takeLock('a-lock-that-is-held'), 'and there is a file that another program has locked');
  const { keyId } = await rig.kms.describeKey('alias/bar');
  for (const key of [
    { keyUri: 'local:alias/bar', keyId: undefined },
    { keyUri: 'local:alias/renamed', keyId },
  ]) {
    const { uses, unreadable } = await usageOf(key, [rig.poolDir]);
    t.same(
      uses.map(({ path, kind, service }) => [path, kind, service]),
      [
        [rig.at('folder/two'), 'disk', null],
        [rig.at('one'), 'disk', null],
      ],
    );
    t.same(
      unreadable.map(({ path }) => path),
      [rig.at('cut')],
    );
  }
  t.same(await usageOf({ keyUri: 'local:alias/other', keyId: 'x' }, [rig.at('folder'), rig.at('none')]), {
    uses: [],
    unreadable: [],
  });
});
