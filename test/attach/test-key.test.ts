/** With its key disabled a disk cannot be opened, and the key is enabled again whatever happens. */

import t from 'tap';
import { testKey } from '#sealdisk/attach/test-key.js';
import { diskRig } from '../disk/rig.js';

t.test('shows the refusal, and leaves the key as it was', async (t) => {
  const rig = await diskRig(t);
  process.env.SEALDISK_RUN = rig.at('run');
  await rig.create('one');
  const environment = { poolDir: rig.poolDir, env: {} };
  const state = async () => (await rig.kms.describeKey('alias/bar')).state;
  const yes = async () => {};
  t.match(await testKey(rig.at('one'), environment, yes), {
    keyUri: 'local:alias/bar',
    refusal: { code: 'KMS_KEY_DISABLED' },
  });
  t.equal(await state(), 'enabled');
  const no = async () => {
    throw new Error('no');
  };
  await t.rejects(testKey(rig.at('one'), environment, no), /no/);
  t.equal(await state(), 'enabled', 'asked before anything is changed');

  let seen = 0;
  const onTerm = () => {
    seen += 1;
  };
  process.on('SIGTERM', onTerm);
  const term = async () => {
    setImmediate(() => process.kill(process.pid, 'SIGTERM'));
  };
  t.match(await testKey(rig.at('one'), environment, term), { refusal: { code: 'KMS_KEY_DISABLED' } });
  t.equal(await state(), 'enabled', 'a signal waits');
  t.ok(seen > 0);
  process.off('SIGTERM', onTerm);
  await rig.kms.disableKey('alias/bar');
  await t.rejects(testKey(rig.at('one'), environment, yes), { code: 'KMS_KEY_DISABLED' });
  t.equal(await state(), 'disabled', 'what somebody else disabled stays so');
});
