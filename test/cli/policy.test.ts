/** sealdisk policy, and that create and attach ask before anything is made. */

import { writeFileSync } from 'node:fs';
import t from 'tap';
import { names, rig } from './rig.js';

t.setTimeout(110_000);

t.test('a policy is added, shown, tried and taken away, and forbids meanwhile', async (t) => {
  const { dir, at, json, sealdisk, disk } = rig(t);
  const made = await disk('before');
  const added = await sealdisk('policy', 'add', 'byok-only', '--user', 'root', '--user', 'nosuchuser');
  t.same(added, {
    code: 0,
    out: 'byok-only: 1 statement for root nosuchuser\n',
    err: 'user nosuchuser is not known here yet\n',
  });
  t.match(await json('policy', 'list'), [
    { name: 'byok-only', principals: { users: ['root', 'nosuchuser'] } },
  ]);
  t.match(await json('policy', 'show', 'byok-only'), { policy: { Version: '1' } });

  const before = names(dir);
  const refused = await sealdisk('create', at('d'), '--size', '1M');
  t.match(refused, {
    code: 11,
    err: /^sealdisk: root may not ecs:CreateDisk on \S+disk\/d: statement OnlyDisksUnderOwnKeys of policy byok-only denies it \(.*ecs:IsDiskByokEncrypted is false\); .* \[POLICY_DENIED\]\n$/,
  });
  t.same(names(dir), before, 'nothing was made');
  await json('create', at('d'), '--size', '1M', '--key', 'alias/before');

  const tried = (...words: string[]) => json('policy', 'test', 'ecs:attachdisk', ...words);
  t.match(await tried('--key', 'alias/before'), { action: 'ecs:AttachDisk', user: 'root', allowed: true });
  t.match(await tried('--unencrypted'), {
    allowed: false,
    policy: 'byok-only',
    statement: 'OnlyDisksUnderOwnKeys',
  });
  t.match(await tried('--unencrypted', '--user', 'nobody'), { user: 'nobody', allowed: true, by: 'nothing' });

  await json('key', 'disable', 'alias/before', '--yes');
  t.notMatch((await sealdisk('attach', made)).err, /POLICY/, 'a disabled key is still an own one');
  await json('policy', 'delete', 'byok-only');
  await json('create', at('e'), '--size', '1M');
  t.equal((await sealdisk('policy', 'show', 'byok-only')).code, 3);
});

t.test('attach asks before the kernel is asked', async (t) => {
  const { at, json, sealdisk } = rig(t);
  await json('create', at('d'), '--size', '1M', '--tag', 'env=test');
  const policy = {
    Version: '1',
    Statement: {
      Effect: 'Deny',
      Action: 'ecs:AttachDisk',
      Resource: '*',
      Condition: { StringEquals: { 'ecs:tag/env': 'test' } },
    },
  };
  writeFileSync(at('no-test.json'), JSON.stringify(policy));
  await json('policy', 'add', at('no-test.json'));
  t.match(await sealdisk('attach', at('d')), {
    code: 11,
    err: /ecs:AttachDisk on \S+: statement 1 of policy no-test denies it \(ecs:tag\/env is test, /,
  });
});

t.test('a tag that a policy goes by can be kept by a policy', async (t) => {
  const { at, json, sealdisk } = rig(t);
  await json('create', at('d'), '--size', '1M', '--tag', 'env=prod');
  const keep = {
    Version: '1',
    Statement: {
      Effect: 'Deny',
      Action: ['ecs:TagResources', 'ecs:UntagResources'],
      Resource: '*',
      Condition: { StringEquals: { 'ecs:tag/env': 'prod' } },
    },
  };
  writeFileSync(at('keep.json'), JSON.stringify(keep));
  await json('policy', 'add', at('keep.json'));
  for (const change of ['env=test', 'env-'])
    t.match(await sealdisk('tag', at('d'), change), { code: 11, err: /policy keep denies it/ }, change);
  await json('rename', at('d'), 'other');
});

t.test('a policy that is none changes nothing, and says where it is wrong', async (t) => {
  const { dir, at, sealdisk } = rig(t);
  writeFileSync(at('p.json'), '{\n  "Version": "1",\n  "Statement": [{ "Effect": "deny" }]\n}\n');
  const before = names(dir);
  t.match(await sealdisk('policy', 'add', at('p.json')), {
    code: 2,
    err: /p\.json:3:29: found "deny", expected Effect "Allow" or "Deny"; .* \[POLICY_SYNTAX\]\n$/,
  });
  t.match(await sealdisk('policy', 'add', 'encripted-only'), { code: 2, err: /encrypted-only or byok-only/ });
  t.same(names(dir), before);
});
