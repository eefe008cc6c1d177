/** What the policies of a caller decide together. */

import t from 'tap';
import { evaluate, type NamedPolicy } from '#sealdisk/policy/evaluate.js';
import type { Action } from '#sealdisk/policy/language.js';
import { comparableKey } from '#sealdisk/policy/language.js';
import { notesOn } from '#sealdisk/policy/notes.js';
import { parsePolicy } from '#sealdisk/policy/parse.js';
import { readyPolicy } from '#sealdisk/policy/ready.js';

const named = (name: string, ...statements: object[]): NamedPolicy => {
  const text = JSON.stringify({ Version: '1', Statement: statements });
  return { name, ...parsePolicy({ name, text }) };
};
const ready = (name: string): NamedPolicy => ({
  name,
  ...parsePolicy({ name, text: readyPolicy(name) ?? '' }),
});
const request = (action: Action, facts: Record<string, string> = {}, resource = 'disk/d-1') => ({
  action,
  resources: [`acs:ecs:local:local:${resource}`, 'acs:ecs:local:local:disk/data'],
  facts: new Map(Object.entries(facts).map(([key, fact]) => [comparableKey(key), fact])),
});

const ALL = { Action: '*', Resource: '*' };
const plain = { 'ecs:IsDiskEncrypted': 'false', 'ecs:IsDiskByokEncrypted': 'false' };
const service = { 'ecs:IsDiskEncrypted': 'true', 'ecs:IsDiskByokEncrypted': 'false' };
const own = { 'ecs:IsDiskEncrypted': 'true', 'ecs:IsDiskByokEncrypted': 'true' };

t.test('the policies that ship forbid what they are called after, and nothing else', async (t) => {
  const table: readonly [string, Action, Record<string, string>, boolean][] = [
    ['encrypted-only', 'ecs:CreateDisk', plain, false],
    ['encrypted-only', 'ecs:CreateDisk', {}, false],
    ['encrypted-only', 'ecs:CreateDisk', service, true],
    ['encrypted-only', 'ecs:CreateDisk', own, true],
    ['encrypted-only', 'ecs:AttachDisk', plain, false],
    ['encrypted-only', 'ecs:AttachDisk', service, true],
    ['encrypted-only', 'ecs:CopySnapshot', plain, false],
    ['encrypted-only', 'ecs:CopyImage', plain, false],
    ['encrypted-only', 'ecs:CreateSnapshot', plain, true],
    ['encrypted-only', 'ecs:ImportImage', plain, true],
    ['encrypted-only', 'ecs:DetachDisk', plain, true],
    ['encrypted-only', 'ecs:DeleteDisk', plain, true],
    ['byok-only', 'ecs:CreateDisk', plain, false],
    ['byok-only', 'ecs:CreateDisk', service, false],
    ['byok-only', 'ecs:CreateDisk', own, true],
    ['byok-only', 'ecs:AttachDisk', service, false],
    ['byok-only', 'ecs:DeleteDisk', service, true],
  ];
  for (const [name, action, facts, allowed] of table)
    t.equal(
      evaluate([ready(name)], request(action, facts)).allowed,
      allowed,
      `${name} ${action} ${JSON.stringify(facts)}`,
    );
});

t.test('a policy as the cloud has it, with Deny for "false", does the same', async (t) => {
  const cloud = named('cloud', {
    Effect: 'Deny',
    Action: 'ecs:CreateDisk',
    Resource: '*',
    Condition: { StringLike: { 'ecs:IsDiskEncrypted': '*false*' } },
  });
  t.same(evaluate([cloud], request('ecs:CreateDisk', plain)), {
    allowed: false,
    by: 'statement',
    policy: 'cloud',
    statement: '1',
  });
  t.same(evaluate([cloud], request('ecs:CreateDisk', own)), { allowed: true, by: 'nothing' });
});

t.test('without policies all is allowed; a Deny takes away only what it names', async (t) => {
  t.same(evaluate([], request('ecs:DeleteDisk')), { allowed: true, by: 'nothing' });
  const deny = named('d', { Effect: 'Deny', Action: 'ecs:DeleteDisk', Resource: '*' });
  t.equal(evaluate([deny], request('ecs:DeleteDisk')).allowed, false);
  t.equal(evaluate([deny], request('ecs:CreateDisk')).allowed, true);
});

t.test('one Allow makes a closed list of what the caller may, over all policies', async (t) => {
  const allow = named('a', { Sid: 'Make', Effect: 'Allow', Action: 'ecs:CreateDisk', Resource: '*' });
  const more = named('b', { Effect: 'Allow', Action: ['ecs:AttachDisk', 'ecs:Det*'], Resource: '*' });
  const deny = named('d', { Effect: 'Deny', Action: 'ecs:CopyImage', Resource: '*' });
  t.same(evaluate([allow, deny], request('ecs:CreateDisk')), {
    allowed: true,
    by: 'statement',
    policy: 'a',
    statement: 'Make',
  });
  t.same(evaluate([allow, deny], request('ecs:AttachDisk')), {
    allowed: false,
    by: 'no-allow',
    policy: 'a',
  });
  t.equal(evaluate([allow, more], request('ecs:AttachDisk')).allowed, true);
  t.equal(evaluate([allow, more], request('ecs:DetachDisk')).allowed, true);
});

t.test('a Deny wins, whatever allows and in whatever order', async (t) => {
  const allow = named('a', { Effect: 'Allow', ...ALL });
  const deny = named('d', { Effect: 'Allow', ...ALL }, { Effect: 'Deny', ...ALL });
  for (const policies of [
    [allow, deny],
    [deny, allow],
  ])
    t.match(evaluate(policies, request('ecs:CreateDisk')), { allowed: false, policy: 'd', statement: '2' });
});

t.test('actions are compared without regard to case, resources with it', async (t) => {
  const allowed = (action: string, resource: string) =>
    evaluate([named('d', { Effect: 'Deny', Action: action, Resource: resource })], request('ecs:CreateDisk'))
      .allowed;
  t.equal(allowed('ECS:createdisk', '*'), false);
  t.equal(allowed('ecs:*Disk', '*'), false);
  t.equal(allowed('ecs:CreateDis', '*'), true);
  t.equal(allowed('ecs:CreateDisk', 'acs:ecs:*:*:disk/*'), false);
  t.equal(allowed('ecs:CreateDisk', 'acs:ecs:*:*:disk/d-1'), false);
  t.equal(allowed('ecs:CreateDisk', 'acs:ecs:*:*:disk/data'), false);
  t.equal(allowed('ecs:CreateDisk', 'acs:ecs:*:*:disk/D-1'), true);
  t.equal(allowed('ecs:CreateDisk', 'acs:ecs:*:*:snapshot/*'), true);
});

t.test('NotAction and NotResource speak of all else', async (t) => {
  const but = named('d', { Effect: 'Deny', NotAction: ['ecs:Create*'], Resource: '*' });
  t.equal(evaluate([but], request('ecs:CreateDisk')).allowed, true);
  t.equal(evaluate([but], request('ecs:DeleteDisk')).allowed, false);
  const other = named('d', { Effect: 'Deny', Action: '*', NotResource: 'acs:ecs:*:*:disk/d-1' });
  t.equal(evaluate([other], request('ecs:DeleteDisk')).allowed, true);
  const resources = ['acs:ecs:local:local:disk/d-2'];
  t.equal(evaluate([other], { ...request('ecs:DeleteDisk'), resources }).allowed, false);
});

t.test('all keys of all operators have to hold, of the values of one key one', async (t) => {
  const both = named('d', {
    Effect: 'Deny',
    ...ALL,
    Condition: {
      StringEquals: { 'ecs:tag/team': ['a', 'b'], 'ecs:tag/env': 'prod' },
      Bool: { 'ECS:isdiskencrypted': 'false' },
    },
  });
  const allowed = (facts: Record<string, string>) =>
    evaluate([both], request('ecs:CreateDisk', facts)).allowed;
  const all = { 'ecs:tag/team': 'b', 'ecs:tag/env': 'prod', 'ecs:IsDiskEncrypted': 'false' };
  t.equal(allowed(all), false);
  t.equal(allowed({ ...all, 'ecs:tag/team': 'c' }), true);
  t.equal(allowed({ ...all, 'ecs:tag/env': 'test' }), true);
  t.equal(allowed({ ...all, 'ecs:IsDiskEncrypted': 'true' }), true);
  t.equal(allowed({ 'ecs:tag/Team': 'b', 'ecs:tag/env': 'prod', 'ecs:IsDiskEncrypted': 'false' }), true);
});

t.test('what can never matter here is told', async (t) => {
  const policy = named('p', {
    Sid: 'Far',
    Effect: 'Deny',
    Action: ['oss:GetObject', 'ecs:RunInstances', 'ecs:CreateDisk'],
    Resource: [
      'acs:ecs:cn-hangzhou:1234:disk/*',
      'acs:ecs:*:*:instance/*',
      'acs:ecs:*:*:disk/*',
      'acs:ecs:*:*:*',
    ],
    Condition: { StringEquals: { 'ecs:InstanceType': 'x', 'ecs:tag/a': 'b', 'acs:currenttime': 'c' } },
  });
  t.same(notesOn(policy), [
    'statement Far: sealdisk has no action oss:GetObject',
    'statement Far: sealdisk has no action ecs:RunInstances',
    'statement Far: no disk is ever acs:ecs:cn-hangzhou:1234:disk/*',
    'statement Far: no disk is ever acs:ecs:*:*:instance/*',
    'statement Far: nothing is ever known of ecs:InstanceType',
  ]);
  t.same(notesOn(ready('byok-only')), []);
});
