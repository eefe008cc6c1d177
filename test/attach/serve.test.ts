import { readdirSync } from 'node:fs';
import t from 'tap';
import { rig as openRig } from '../cli/rig.js';

t.test('a served disk whose process was killed is in service no more, and is served again', async (t) => {
  const rig = openRig(t);
  const disk = await rig.disk('data');
  const first = await rig.serve(disk, '--socket', rig.at('s'));
  t.match(await rig.json('list'), [{ path: disk, serverPid: first.pid, gate: 'live' }]);
  await first.stop('SIGKILL');
  t.same(await rig.json('list'), [], 'the list forgets it');
  const second = await rig.serve(disk, '--socket', rig.at('s'));
  t.match(await rig.json('info', disk), { serverPid: second.pid, gate: 'live' });
  t.equal((await second.stop()).code, 0);
  t.same(readdirSync(rig.at('run')), [], 'and nothing is left of either');
});
