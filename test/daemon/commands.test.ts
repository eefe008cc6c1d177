/** The closed list: what a line is taken apart into, and what is refused. */

import t from 'tap';
import { planOf } from '#sealdisk/daemon/commands.js';
import { decodeRequest } from '#sealdisk/daemon/protocol.js';

t.test('a line is taken apart into what each word is', async (t) => {
  t.same(planOf(['create', '--size', '1G', 'data', '--tag=a=b', '--tag', 'c=d', '--unencrypted', '--json']), {
    command: ['create'],
    args: [{ kind: 'new', text: 'data' }],
    options: [
      { name: 'size', kind: 'text', text: '1G' },
      { name: 'tag', kind: 'tag', text: 'a=b' },
      { name: 'tag', kind: 'tag', text: 'c=d' },
      { name: 'unencrypted', kind: 'flag', text: '' },
      { name: 'json', kind: 'flag', text: '' },
    ],
    pool: undefined,
    makes: true,
  });
  t.match(planOf(['tag', 'd', 'a=b', 'c-', '--pool=/p', '-v']), {
    args: [{ kind: 'object' }, { kind: 'tag-change', text: 'a=b' }, { kind: 'tag-change', text: 'c-' }],
    options: [{ name: 'verbose' }],
    pool: '/p',
    makes: false,
  });
  t.match(planOf(['snapshot', 'restore', '--', '--yes', '-x']), {
    command: ['snapshot', 'restore'],
    args: [
      { kind: 'object', text: '--yes' },
      { kind: 'object', text: '-x' },
    ],
    options: [],
  });
});

t.test('what the list does not name is refused', async (t) => {
  const lines = [
    [],
    [''],
    ['serve', 'd'],
    ['daemon'],
    ['key', 'list'],
    ['policy', 'add', 'encrypted-only'],
    ['policy'],
    ['snapshot'],
    ['export-data-key', 'd'],
    ['import', '/etc/shadow', '--name', 'x'],
    ['image', 'import', '/etc/shadow'],
    ['image', 'export', 'i'],
    ['constructor'],
    ['__proto__'],
    ['attach', 'd', '--device', '/dev/nbd0'],
    ['encrypt', 'd', '--in-place'],
    ['policy', 'test', 'ecs:CreateDisk', '--user', 'root'],
    ['create', 'd', '--siz=1'],
    ['create', 'd', '--constructor=1'],
    ['create', 'd', '-s', '1M'],
    ['create', 'd', '--size'],
    ['create', 'd', '--unencrypted=no'],
    ['create', 'd', '--SIZE=1'],
    ['create', 'd', 'e'],
    ['list', 'd'],
    ['tag', ...Array(200).fill('a=b')],
  ];
  for (const words of lines)
    t.throws(() => planOf(words), { code: 'DAEMON_REFUSED', exitCode: 11 }, words.join(' '));
});

t.test('a request that is not one is refused', async (t) => {
  const good = { version: 1, words: ['list'], pool: '/p' };
  t.same(decodeRequest(JSON.stringify(good)), { words: ['list'], pool: '/p' });
  const bad = [
    '',
    'list',
    '[]',
    'null',
    '{}',
    JSON.stringify({ ...good, version: 2 }),
    JSON.stringify({ ...good, words: 'list' }),
    JSON.stringify({ ...good, words: ['list', 1] }),
    JSON.stringify({ ...good, pool: null }),
    JSON.stringify({ ...good, uid: 0 }),
    `${JSON.stringify(good).slice(0, -1)},"pool":"/q"}`,
    JSON.stringify({ ...good, words: ['x'.repeat(70_000)] }),
  ];
  for (const line of bad) t.throws(() => decodeRequest(line), { code: 'DAEMON_REFUSED' }, line.slice(0, 60));
});
