/** Reading a policy: what is one, and of what is none the line and column of what is wrong. */

import t from 'tap';
import { isFailure } from '#sealdisk/errors.js';
import { parsePolicy } from '#sealdisk/policy/parse.js';
import { READY_NAMES, readyPolicy } from '#sealdisk/policy/ready.js';

const parse = (text: string) => parsePolicy({ name: 'p.json', text });

const statement = (fields: object) =>
  JSON.stringify({
    Version: '1',
    Statement: { Effect: 'Deny', Action: 'ecs:*', Resource: '*', ...fields },
  });

t.test('one statement and a list, one text and a list mean the same', async (t) => {
  const one = parse('{"Version":"1","Statement":{"Effect":"Allow","Action":"ecs:*","Resource":"*"}}');
  const list = parse('{"Version":"1","Statement":[{"Effect":"Allow","Action":["ecs:*"],"Resource":["*"]}]}');
  t.same(one, list);
  t.match(one, { statements: [{ effect: 'Allow', actions: { except: false, patterns: ['ecs:*'] } }] });
});

t.test('NotAction and NotResource are all but what they name', async (t) => {
  const { statements } = parse(
    statement({ Action: undefined, Resource: undefined, NotAction: 'ecs:AttachDisk', NotResource: '*' }),
  );
  t.match(statements, [{ actions: { except: true }, resources: { except: true, patterns: ['*'] } }]);
});

t.test('conditions are one for each key of each operator', async (t) => {
  const { statements } = parse(
    statement({
      Condition: { Bool: { 'ecs:IsDiskEncrypted': 'false' }, StringLike: { 'a:b': ['x*', 'y'] } },
    }),
  );
  t.match(statements[0]?.conditions, [
    { operator: { name: 'Bool' }, key: 'ecs:IsDiskEncrypted', values: ['false'] },
    { operator: { name: 'StringLike' }, key: 'a:b', values: ['x*', 'y'] },
  ]);
});

t.test('the policies that ship are policies', async (t) => {
  t.same(READY_NAMES, ['encrypted-only', 'byok-only']);
  for (const name of READY_NAMES) t.ok(parse(readyPolicy(name) ?? ''), name);
  t.equal(readyPolicy('toString'), undefined);
});

const LINES = `{
  "Version": "1",
  "Statement": [{
    "Effect": "Deny",
    "Action": "ecs:CreateDisk",
    "Resource": "*",
    "Condition": { "Bool": { "ecs:IsDiskEncrypted": "false" } }
  }]
}
`;

/** What stands in the place of what, and where that is seen: line, column, what was expected. */
const FLAWS: readonly [string, string, number, number, RegExp][] = [
  ['"1",', '"2012-10-17",', 2, 14, /Version "1"/],
  ['"1",', '1,', 2, 14, /Version "1"/],
  ['"Version": "1",', '', 1, 1, /Version "1"/],
  ['"Version"', '"version"', 2, 3, /Version, Statement/],
  ['"Deny"', '"deny"', 4, 15, /Effect "Allow" or "Deny"/],
  ['"Deny"', 'true', 4, 15, /Effect/],
  ['"Effect": "Deny",', '', 3, 17, /Effect/],
  ['"Effect": "Deny",', '"Effect": "Deny", "Effect": "Allow",', 4, 31, /JSON/],
  ['"Effect"', '"Principal": "*", "Effect"', 4, 5, /Sid, Effect, Action/],
  ['"ecs:CreateDisk"', '"CreateDisk"', 5, 15, /an action as/],
  ['"ecs:CreateDisk"', '["ecs:CreateDisk", 7]', 5, 34, /an action as/],
  ['"ecs:CreateDisk"', '[]', 5, 15, /at least one/],
  ['"ecs:CreateDisk"', '"ecs:*", "NotAction": "ecs:*"', 5, 24, /either Action or NotAction/],
  ['"Action": "ecs:CreateDisk",', '', 3, 17, /Action or NotAction/],
  ['"Resource": "*"', '"Resource": "disk/*"', 6, 17, /a resource as/],
  ['"Bool"', '"Boolean"', 7, 20, /an operator: StringEquals, /],
  ['"Bool"', '"BoolIfExists"', 7, 20, /an operator/],
  ['"ecs:IsDiskEncrypted"', '"IsDiskEncrypted"', 7, 30, /a condition key/],
  ['"false"', '"no"', 7, 53, /for Bool "true" or "false"/],
  ['"false"', 'false', 7, 53, /for Bool "true" or "false"/],
  ['"false"', '[]', 7, 53, /at least one/],
  ['{ "ecs:IsDiskEncrypted": "false" }', '{}', 7, 28, /at least one key/],
  ['{ "ecs:IsDiskEncrypted": "false" }', '"false"', 7, 28, /keys of Bool/],
  ['}]\n}', '}]\n', 10, 1, /JSON/],
  ['}]\n}', '},]\n}', 8, 5, /JSON/],
  ['[{', '[], "x": [{', 3, 20, /Version, Statement/],
];

t.test('what is no policy is refused whole, with the place of what is wrong', async (t) => {
  t.ok(parse(LINES));
  for (const [from, to, line, column, expected] of FLAWS) {
    const text = LINES.replace(from, to);
    t.not(text, LINES, from);
    try {
      parse(text);
      t.fail(`${to} is refused`);
    } catch (error) {
      if (!isFailure(error, 'POLICY_SYNTAX')) throw error;
      const { facts, message } = error;
      t.same([facts.line, facts.column], [line, column], `${to}: ${message}`);
      t.match(facts.expected, expected, to);
      t.match(message, `p.json:${line}:${column}: found `);
    }
  }
});

t.test('an empty text, an empty list of statements and one that is too long are none', async (t) => {
  for (const text of [
    '',
    ' ',
    '[]',
    'null',
    '{}',
    '{"Version":"1","Statement":[]}',
    `"${'x'.repeat(70_000)}"`,
  ])
    t.throws(() => parse(text), { code: 'POLICY_SYNTAX' }, text.slice(0, 40));
});
