/** The frame of the command line: help, its examples, unknown words, and an output that goes away. */

import t from 'tap';
import { MAIN, names, rig, run } from './rig.js';

t.setTimeout(110_000);

const COMMANDS = [
  'create',
  'attach',
  'detach',
  'list',
  'info',
  'serve',
  'key create',
  'key list',
  'key show',
  'key disable',
  'key enable',
  'key usage',
  'key schedule-deletion',
  'key import',
  'key alias create',
  'rewrap',
  'image import',
  'image copy',
  'image export',
  'recover check',
  'kms access-key create',
  'kms backup',
  'kms root show',
  'policy add',
  'policy test',
  'export-data-key',
];

/** What commander says of words that it cannot take. */
const NOT_PARSED = /unknown|missing|invalid|not specified|too many/;

t.test('the help of every command ends with an example that parses', async (t) => {
  const { sealdisk, at } = rig(t);
  const { out: whole } = await sealdisk('--help');
  for (const command of COMMANDS) {
    t.match(whole, command.split(' ')[0]);
    const { code, out } = await sealdisk(...command.split(' '), '--help');
    t.equal(code, 0);
    const example = /\nExample:\n {2}sealdisk (.*)\n+$/.exec(out)?.[1] ?? '';
    t.ok(example.startsWith(command), `${command}: ${example}`);
    // Its files are where nobody has any.
    const words = example
      .split(' ')
      .map((word) => (/^\/var|^data|^\/tmp/.test(word) ? at(`none/${word}`) : word));
    const ran = await sealdisk(...words);
    t.notMatch(ran.err, NOT_PARSED, `${command}: ${ran.err}`);
  }
});

t.test('unknown and missing words are refused with exit code 2 and change nothing', async (t) => {
  const { dir, sealdisk } = rig(t);
  const lines = [
    ['bogus'],
    ['--bogus'],
    ['key', 'bogus'],
    ['list', '--bogus'],
    ['info'],
    ['serve', 'd'],
    ['serve', 'd', '--socket', 's', '--max-connections', '0'],
    ['serve', 'd', '--socket', 's', '--handshake-timeout', '10'],
    ['serve', 'd', 'e', '--socket', 's', '--export-name', 'x'],
    ['serve', 'd', '--listen', '127.0.0.1'],
    ['serve', 'd', '--listen', '127.0.0.1:65536'],
    ['serve', 'd', '--socket', 's', '--key-check-interval', '5'],
    ['serve', 'd', '--socket', 's', '--on-key-loss', 'shrug'],
    ['attach', 'd', '--device', '/dev/sda'],
    ['list', '--log-level', 'loud'],
    ['key', 'disable'],
    ['export-data-key', 'd'],
  ];
  for (const words of lines) {
    const { code, out, err } = await sealdisk(...words);
    t.equal(code, 2, words.join(' '));
    t.equal(out, '');
    t.match(err, /^sealdisk: [^\n]+\n(\(Did you mean [^\n]+\n)?$/, words.join(' '));
  }
  t.same(names(dir), []);
});

t.test('a command whose output nobody reads any more ends well', async (t) => {
  const { env, json } = rig(t);
  for (let i = 0; i < 3; i++) await json('key', 'create');
  const piped = `"${process.execPath}" "${MAIN}" key list --json | true; echo "\${PIPESTATUS[0]}"`;
  t.same(await run('bash', ['-c', piped], env), { code: 0, out: '0\n', err: '' });
  const full = await run('bash', ['-c', `"${process.execPath}" "${MAIN}" key list >/dev/full`], env);
  t.match(full, { code: 9, err: /^sealdisk: standard output: ENOSPC; [^\n]*\n$/ });
});
