/** The policies of a pool: whom they speak of, who may write them, and what a command does about what it finds. */

import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { LocalKms } from '#sealdisk/kms/local/local-kms.js';
import { authorize } from '#sealdisk/policy/authorize.js';
import type { Caller } from '#sealdisk/policy/caller.js';
import { readyPolicy } from '#sealdisk/policy/ready.js';
import {
  addPolicy,
  deletePolicy,
  type Principals,
  policiesDir,
  readPolicies,
} from '#sealdisk/policy/store.js';
import type { Subject } from '#sealdisk/policy/subject.js';

const EVERYONE: Principals = { kind: 'everyone' };
const some = (users: string[], groups: string[]): Principals => ({ kind: 'some', users, groups });

function rigOf(t: Test) {
  const poolDir = mkdtempSync(join(tmpdir(), 'sealdisk-policy-'));
  t.teardown(() => rmSync(poolDir, { recursive: true, force: true }));
  const source = (name: string) => ({ name, text: readyPolicy(name) ?? '' });
  const add = (name: string, principals = EVERYONE, ready = 'encrypted-only', replace = false) =>
    addPolicy(poolDir, { name, principals, source: source(ready), replace });
  const may = async (user: string, groups: string[], subject: Partial<Subject> = {}) => {
    const caller: Caller = { uid: 1, user, groups, guest: false };
    const whole: Subject = {
      kind: 'disk',
      id: '',
      name: 'd',
      key: null,
      system: false,
      tags: {},
      ...subject,
    };
    await authorize(caller, 'ecs:CreateDisk', whole, { poolDir, env: {} });
  };
  return { poolDir, at: (name: string) => join(policiesDir(poolDir), name), add, may };
}

const DENIED = { code: 'POLICY_DENIED', exitCode: 11 };

t.test('a pool without policies forbids nothing', async (t) => {
  const { may, poolDir } = rigOf(t);
  await may('alice', []);
  t.same(await readPolicies(poolDir), []);
  t.same(readdirSync(poolDir), [], 'and nothing is made');
});

t.test('a policy speaks of everyone, root too, or of the users and groups that it names', async (t) => {
  const { add, may, poolDir } = rigOf(t);
  await add('some', some(['alice'], ['staff']));
  await t.rejects(may('alice', []), DENIED);
  await t.rejects(may('bob', ['users', 'staff']), DENIED);
  await may('bob', ['users']);
  await may('root', ['root']);
  await add('all');
  await t.rejects(may('root', ['root']), {
    ...DENIED,
    message:
      'root may not ecs:CreateDisk on acs:ecs:local:local:disk/d: statement OnlyEncryptedDisks of policy all ' +
      'denies it (ecs:IsDiskEncrypted is false)',
  });
  await may('alice', [], { key: { uri: 'alias/bar' } });
  await deletePolicy(poolDir, 'all');
  await may('root', ['root']);
});

t.test("the service key is nobody's own, and what no KMS tells is not known", async (t) => {
  const { add, may, poolDir } = rigOf(t);
  await add('byok', EVERYONE, 'byok-only');
  await t.rejects(may('a', [], { key: { uri: 'alias/acs/ecs' } }), {
    message: /denies it \(ecs:IsDiskEncrypted is true, ecs:IsDiskByokEncrypted is false\)/,
  });
  await t.rejects(may('a', [], { key: { uri: 'alias/none' } }), {
    message: /\(ecs:IsDiskEncrypted is true\)/,
  });
  const kms = LocalKms.open(join(poolDir, 'kms'));
  await kms.createKey({ alias: 'alias/own' });
  await may('a', [], { key: { uri: 'alias/own' } });
  const { keyId } = await kms.describeKey('alias/acs/ecs');
  for (const key of [{ uri: keyId }, { uri: 'alias/own', id: keyId }])
    await t.rejects(may('a', [], { key }), { message: /ByokEncrypted is false/ }, 'by its id, too');
});

t.test('the disk of a system is one more thing that a policy can ask for', async (t) => {
  const { add, may, poolDir } = rigOf(t);
  await add('all');
  await t.rejects(may('a', [], { system: true }), {
    message: /\(ecs:IsDiskEncrypted is false, ecs:IsSystemDiskEncrypted is false\)/,
  });
  const text = JSON.stringify({
    Version: '1',
    Statement: {
      Effect: 'Deny',
      Action: '*',
      Resource: '*',
      Condition: { Bool: { 'ecs:IsSystemDiskByokEncrypted': 'false' } },
    },
  });
  await addPolicy(poolDir, { name: 's', principals: EVERYONE, source: { name: 's', text }, replace: false });
  const service = { key: { uri: 'alias/acs/ecs' } };
  await may('a', [], service);
  await t.rejects(may('a', [], { ...service, system: true }), {
    message: /statement 1 of policy s .*ecs:IsSystemDiskByokEncrypted is false/,
  });
});

t.test('a policy is written whole, for its owner alone, and never in the place of another', async (t) => {
  const { add, at, poolDir } = rigOf(t);
  await add('one', some(['alice'], []));
  t.equal(statSync(at('one.json')).mode & 0o777, 0o600);
  t.equal(statSync(policiesDir(poolDir)).mode & 0o777, 0o700);
  await t.rejects(add('one'), { code: 'DISK_EXISTS' });
  t.match(await readPolicies(poolDir), [{ name: 'one', principals: { users: ['alice'] } }]);
  await add('one', EVERYONE, 'byok-only', true);
  t.match(await readPolicies(poolDir), [
    { principals: { kind: 'everyone' }, statements: [{ sid: /OwnKeys/ }] },
  ]);
  t.same(readdirSync(policiesDir(poolDir)), ['one.json'], 'nothing is left aside');
  for (const name of ['', '.x', '../x', 'a/b', 'x.json', 'a b', 'x'.repeat(65)])
    await t.rejects(add(name), { code: 'POLICY_NAME' }, name);
  const bad = { name: 'f', text: '{"Version":"1"}' };
  await t.rejects(addPolicy(poolDir, { name: 'b', principals: EVERYONE, source: bad, replace: false }), {
    code: 'POLICY_SYNTAX',
    message: /^f:1:1: /,
  });
  await t.rejects(deletePolicy(poolDir, 'none'), { code: 'POLICY_NOT_FOUND' });
});

t.test('what somebody else may have written, or half of it, denies everything', async (t) => {
  const { add, at, may } = rigOf(t);
  const encrypted = { key: { uri: 'alias/bar' } };
  const broken: [string, RegExp, () => void][] = [
    ['another owner', /owned by user 65534/, () => chownSync(at('p.json'), 65534, 0)],
    [
      'a mode that lets others write',
      /writable by others \(mode 620\)/,
      () => chmodSync(at('p.json'), 0o620),
    ],
    ['a second name', /a file of 2 names/, () => linkSync(at('p.json'), at('hidden'))],
    [
      'a folder',
      /no file/,
      () => {
        rmSync(at('p.json'));
        mkdirSync(at('p.json'));
      },
    ],
    ['half a file', /p\.json:1:12 is /, () => writeFileSync(at('p.json'), '{"version":')],
    ['a field too many', /"x", expected version/, () => writeFileSync(at('p.json'), '{"x":1}')],
  ];
  for (const [what, found, spoil] of broken) {
    await add('p');
    await may('alice', [], encrypted);
    spoil();
    await t.rejects(may('alice', [], encrypted), { message: found, exitCode: 11 }, what);
    rmSync(at('p.json'), { recursive: true });
    rmSync(at('hidden'), { force: true });
  }
  await add('p');
  rmSync(at('p.json'));
  symlinkSync('/etc/passwd', at('p.json'));
  await t.rejects(may('alice', [], encrypted), { code: 'DISK_IO', message: /ELOOP/ });
});
