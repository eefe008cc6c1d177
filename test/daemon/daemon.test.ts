/** The daemon and real users: what they can do through it, and what nobody can whatever he sends. */

import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, lstatSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import t from 'tap';
import { daemonRig, NOBODY } from './rig.js';

t.setTimeout(170_000);

/** An account of its own, in a group of its own, for the time of the test. */
function account(t: { teardown(end: () => void): void }, name: string): number {
  execFileSync('useradd', ['--no-create-home', '--user-group', name], { stdio: 'ignore' });
  t.teardown(() => execFileSync('userdel', [name], { stdio: 'ignore' }));
  return Number(execFileSync('id', ['-u', name], { encoding: 'utf8' }));
}

t.test('users have disks of their own in a pool that is not theirs', async (t) => {
  const { at, json, start, as } = await daemonRig(t);
  await start();
  const alice = account(t, `sealdisk-${process.pid}`);
  const name = `sealdisk-${process.pid}`;
  t.match(await as(NOBODY, 'create', 'data', '--size', '1M', '--tag', 'team=a'), {
    code: 0,
    out: /pool\/data: 1 MiB/,
  });
  t.match(await as(alice, 'create', 'data', '--size', '1M'), { code: 8, err: /already exists/ });
  const made = await as(alice, 'create', '--unencrypted', 'plain', '--size', '1M', '--json');
  const { id } = JSON.parse(made.out);
  t.match(await json('list'), [
    { name: 'data', tags: { owner: 'nobody', team: 'a' } },
    { name: 'plain', id, tags: { owner: name } },
  ]);
  t.equal(lstatSync(at('pool')).mode & 0o777, 0o700);

  t.match(
    JSON.parse((await as(NOBODY, 'list', '--json')).out),
    [{ name: 'data' }],
    'and nobody sees another',
  );
  for (const words of [
    ['info', id],
    ['rename', 'plain', 'mine'],
    ['tag', id, 'a=b'],
    ['delete', id, '--yes'],
  ])
    t.match(await as(NOBODY, ...words), { code: 3, out: '', err: /no such disk/ }, words.join(' '));

  t.match(await as(alice, 'rename', 'plain', 'other'), { code: 0 });
  t.match(await as(alice, 'tag', 'other', 'a=b'), { code: 0, out: /owner=sealdisk-\d+ a=b/ });
  t.match(await as(alice, 'info', id), { code: 0, out: /name: +other/ });

  await json('policy', 'add', 'encrypted-only', '--group', name);
  t.match(await as(alice, 'create', 'p2', '--size', '1M', '--unencrypted'), {
    code: 11,
    err: /^sealdisk: sealdisk-\d+ may not ecs:CreateDisk .* statement OnlyEncryptedDisks of policy encrypted-only/,
  });
  t.match(await as(NOBODY, 'create', 'p3', '--size', '1M', '--unencrypted'), { code: 0 });
  t.match(await as(alice, 'delete', 'other', '--yes'), { code: 0 });
  t.same(
    (await json('list')).map((one: { name: string }) => one.name),
    ['data', 'p3'],
  );
});

t.test('nothing that a caller sends leads out of the pool, or makes somebody else of it', async (t) => {
  const { dir, at, json, start, as, send, request } = await daemonRig(t);
  await json(
    'create',
    at('outside'),
    '--unencrypted',
    '--size',
    '1M',
    '--tag',
    'owner=nobody',
    '--name',
    'link',
  );
  await json('create', 'roots', '--size', '1M');
  symlinkSync(at('outside'), at('pool/link.raw'));
  chmodSync(at('pool'), 0o700);
  await start();
  t.match(await as(NOBODY, 'create', 'mine', '--size', '1M'), { code: 0 });
  const visible = () =>
    readdirSync(at('pool'))
      .filter((name) => !name.startsWith('.'))
      .sort();
  const before = visible();
  const refused: [string, string, RegExp][] = [
    ['a path outside', request('info', at('outside')), /a path/],
    ['a path to the pool', request('info', at('pool/mine')), /a path/],
    ['a way up', request('create', '../x', '--size', '1M'), /a path/],
    ['a way up of a snapshot', request('snapshot', 'create', 'mine', '--name=../x'), /a path/],
    ['a name like an id', request('rename', 'mine', 'd-00000000000000000000'), /looks like an id/],
    ['a name with a control character', request('rename', 'mine', 'a\nb'), /control character/],
    ['a link that leads out', request('info', 'link'), /no file of the pool/],
    ['another pool', request('list', '--pool', dir), /its own is/],
    ['another pool, twice', request('list', '--pool', at('pool'), `--pool=${dir}`), /its own is/],
    ['the owner tag', request('create', 'x', '--size', '1M', '--tag', 'owner=root'), /tag owner/],
    ['the owner tag, taken away', request('tag', 'mine', 'owner-'), /tag owner/],
    [
      'a key that runs a program',
      request('create', 'x', '--size', '1M', '--key', 'exec:///bin/sh?key=a'),
      /the key exec/,
    ],
    [
      'a key elsewhere',
      request('create', 'x', '--size', '1M', '--key', 'awskms:///alias/a?region=r'),
      /the key awskms/,
    ],
    ['a command for root', request('serve', 'mine', '--socket', '/tmp/x'), /the command "serve"/],
    ['an option for root', request('attach', 'mine', '--device', '/dev/nbd0'), /the option "--device"/],
    [
      'another user',
      `${JSON.stringify({ version: 1, words: ['list'], pool: at('pool'), uid: 0 })}\n`,
      /a field/,
    ],
    ['no JSON', 'list\n', /no JSON/],
    ['two lines', request('list') + request('list'), /more than one line/],
    ['a line without end', `"${'x'.repeat(70_000)}`, /more than 65536 bytes/],
  ];
  const answers = await send(NOBODY, ...refused.map(([, line]) => line));
  for (const [i, [what, , why]] of refused.entries())
    t.match(answers[i], { out: '', err: why, exit: 11 }, what);

  const harmless: [string, string, number][] = [
    ['an option as a name is a name', request('info', '--', '--yes'), 3],
    ["root's own", request('info', 'roots'), 3],
    ['a device that is not there', request('info', '/dev/nbd77'), 3],
    ['a value that looks like an option', request('rename', 'mine', '--', '--force'), 0],
  ];
  const others = await send(NOBODY, ...harmless.map(([, line]) => line));
  for (const [i, [what, , exit]] of harmless.entries())
    t.equal(others[i]?.exit, exit, `${what}: ${others[i]?.err}`);
  t.same(visible(), before, 'nothing was made or taken away');
});

t.test('a hundred callers are answered, each its own; who says nothing keeps nobody waiting', async (t) => {
  const { start, as, send, request, script } = await daemonRig(t);
  const daemon = await start();
  await as(NOBODY, 'create', 'mine', '--size', '1M');
  const idle = script(1, IDLE, '40');
  const list = request('list', '--json');
  const [mine, others, wrong] = await Promise.all([
    send(NOBODY, ...Array(25).fill(list)),
    send(2, ...Array(15).fill(list)),
    send(3, ...Array(60).fill(request('list', '--bogus'))),
  ]);
  for (const { exit, out } of mine)
    t.match({ exit, list: JSON.parse(out) }, { exit: 0, list: [{ name: 'mine' }] });
  for (const { exit, out } of others) t.same({ exit, list: JSON.parse(out) }, { exit: 0, list: [] });
  for (const { exit, out } of wrong) t.same({ exit, out }, { exit: 11, out: '' });
  t.same(await idle, { code: 0, out: '40 refused', err: '' });
  t.equal(await daemon.signal('SIGTERM'), 0);
});

/** Connects so often, says half a line, and counts those that are told that it took too long. */
const IDLE = `
  let refused = 0;
  const socket = () => require('node:net').connect(process.argv[1]);
  const all = Array.from({ length: Number(process.argv[2]) }, () => new Promise((resolve) => {
    socket().on('data', (text) => { refused += /ms for a request/.test(text); }).on('close', resolve).write('{');
  }));
  Promise.all(all).then(() => process.stdout.write(refused + ' refused'));
`;

t.test(
  'a caller that goes takes its command along, and a daemon that is killed leaves nothing in the way',
  async (t) => {
    const held: Socket[] = [];
    const silent = createServer((socket) => held.push(socket.on('error', () => undefined)));
    await once(silent.listen(0, '127.0.0.1'), 'listening');
    t.teardown(() => {
      silent.close();
      for (const socket of held) socket.destroy(); // so that what outlives its daemon ends, too
    });
    const { env, at, start, as, caller, request } = await daemonRig(t);
    writeFileSync(at('token'), 'x', { mode: 0o600 });
    Object.assign(env, {
      VAULT_ADDR: `http://127.0.0.1:${(silent.address() as AddressInfo).port}`,
      VAULT_TOKEN: 'x',
    });
    const daemon = await start('--allow-key', 'hashivault://key');
    const slow = ['create', 'slow', '--size', '1M', '--key', 'hashivault://key'];

    const asked = once(silent, 'connection');
    const gone = caller(NOBODY, request(...slow));
    await asked;
    gone.kill('SIGKILL');
    t.match(await daemon.log(({ event }) => event === 'command'), {
      command: 'create',
      uid: NOBODY,
      msg: /SIGTERM/,
    });

    const again = once(silent, 'connection');
    const waiting = as(NOBODY, ...slow);
    await again;
    await daemon.signal('SIGKILL');
    t.match(await waiting, {
      code: 9,
      err: /the daemon at \S+ does not answer: it ended before the command did/,
    });
    t.match(await as(NOBODY, 'list'), { code: 9, err: /ECONNREFUSED/ });
    await start();
    t.match(await as(NOBODY, 'list'), { code: 0 });
  },
);

t.test('a pool that others can look into is refused', async (t) => {
  const { at, json, start } = await daemonRig(t);
  await json('create', 'd', '--size', '1M');
  chmodSync(at('pool'), 0o750);
  await t.rejects(start(), /of mode 750, expected mode 700/);
});
