/** sealdisk resize of disks that are detached and of disks on sockets: sizes, refusals, exit codes; killed at any step. */

import { closeSync, openSync, statSync, truncateSync } from 'node:fs';
import { flockSync } from 'fs-ext';
import t from 'tap';
import { MAIN, rig, run } from './rig.js';

t.setTimeout(170_000);

const MIB = 1 << 20;
/** Where the payload begins. */
const OFFSET = 16 * MIB;

t.test('a detached disk grows and, by force, shrinks: in whole sectors', async (t) => {
  const { disk, json, sealdisk } = rig(t);
  const path = await disk('bar');
  const steps: [string[], number][] = [
    [['--size', '+1M'], 17 * MIB],
    [['--size', '20M'], 20 * MIB],
    [['--size', '20M'], 20 * MIB],
    [['--size', '21000001'], 21_000_192],
    [['--size', '-1M', '--force'], 21_000_192 - MIB],
    [['--size', '2M', '--force'], 2 * MIB],
  ];
  let was = 16 * MIB;
  for (const [args, sizeBytes] of steps) {
    const done = await json('resize', path, ...args);
    t.match(done, { path, wasBytes: `${was}`, sizeBytes: `${sizeBytes}` }, args.join(' '));
    t.equal(statSync(path).size, OFFSET + sizeBytes);
    t.match(await json('info', path), { sizeBytes: `${sizeBytes}`, headerCopies: 'good', generation: 0 });
    was = sizeBytes;
  }
  truncateSync(path, OFFSET + 5 * MIB);
  t.match(await json('resize', path), { wasBytes: `${5 * MIB}`, sizeBytes: `${5 * MIB}` });
  t.match(await sealdisk('resize', path, '--size', '6M'), { code: 0, out: `${path}: 6 MiB, was 5 MiB\n` });
});

t.test('what cannot be is refused in one line, and the file keeps its length and its times', async (t) => {
  const { at, disk, sealdisk } = rig(t);
  const path = await disk('bar');
  const before = statSync(path, { bigint: true });
  const refusals: [string[], number, RegExp][] = [
    [['--size', '8M'], 4, /last 8388608 bytes would be gone, and there is no --force.*\[DISK_RESIZE\]/],
    [['--size', '-1G', '--force'], 4, /-1056964608 bytes would be left.*\[DISK_RESIZE\]/],
    [['--size', '-16M', '--force'], 4, /0 bytes would be left.*\[DISK_RESIZE\]/],
    [['--size', '4000P'], 9, /EFBIG.*\[DISK_IO\]/],
    [['--size', '+0'], 2, /--size/],
    [['--size', '++1G'], 2, /--size/],
    [['--size', ''], 2, /--size/],
  ];
  for (const [args, code, says] of refusals) {
    t.match(await sealdisk('resize', path, ...args), { code, out: '', err: says }, args.join(' '));
  }
  const held = openSync(path, 'r');
  flockSync(held, 'sh');
  t.match(await sealdisk('resize', path, '--size', '+1M'), { code: 8, err: /\[DISK_IN_USE\]/ });
  closeSync(held);
  const after = statSync(path, { bigint: true });
  t.same([after.size, after.mtimeNs, after.ctimeNs], [before.size, before.mtimeNs, before.ctimeNs]);
  t.match(await sealdisk('resize', at('none'), '--size', '1M'), { code: 3, err: /\[DISK_NOT_FOUND\]/ });
  t.match(await sealdisk('resize', '/dev/nbd999'), { code: 3, err: /\[ATTACH_NOT_ATTACHED\]/ });
});

t.test('a disk on a socket grows under a client, and new clients are told', async (t) => {
  const { at, disk, serve, json, sealdisk } = rig(t);
  const path = await disk('bar');
  const server = await serve(path, '--socket', at('s'));
  const size = async () => Number((await run('nbdinfo', ['--size', server.uri])).out);
  t.equal(await size(), 16 * MIB);
  const script = [
    `import subprocess`,
    `h.connect_uri("${server.uri}")`,
    `h.pwrite(b"old end.", ${16 * MIB - 8}, nbd.CMD_FLAG_FUA)`,
    `subprocess.run(["${process.execPath}", "${MAIN}", "resize", "${path}", "--size", "+4M"], check=True)`,
    `h.set_strict_mode(0)`,
    `h.pwrite(b"new end.", ${20 * MIB - 8}, nbd.CMD_FLAG_FUA)`,
    `assert h.pread(16, ${16 * MIB - 8})[:8] == b"old end."`,
    `assert h.get_size() == ${16 * MIB}`,
    `refused = subprocess.run(["${process.execPath}", "${MAIN}", "resize", "${path}", "--size", "8M", "--force"],`,
    `  capture_output=True, text=True)`,
    `print(refused.returncode, refused.stderr)`,
  ].join('\n');
  const { env } = { env: { ...process.env, SEALDISK_RUN: at('run'), SEALDISK_POOL: at('pool') } };
  const ran = await run('nbdsh', ['-c', script], env);
  t.match(
    ran,
    { code: 0, out: /^8 sealdisk: .*cannot shrink while it is open in 1 NBD client;.*\n/m },
    ran.err,
  );
  t.equal(await size(), 20 * MIB);
  t.equal(statSync(path).size, OFFSET + 20 * MIB);
  t.match(await json('list'), [{ sizeBytes: `${20 * MIB}` }]);

  t.match(await sealdisk('resize', path, '--size', '8M'), { code: 4, err: /no --force/ });
  t.match(await json('resize', path, '--size', '8M', '--force'), { sizeBytes: `${8 * MIB}` });
  t.equal(await size(), 8 * MIB);
  t.equal(statSync(path).size, OFFSET + 8 * MIB);
  truncateSync(path, OFFSET + 9 * MIB);
  t.match(await json('resize', path), { wasBytes: `${8 * MIB}`, sizeBytes: `${9 * MIB}` }, 'grown by others');
  t.equal(await size(), 9 * MIB);
  await server.stop();
});

t.test('a disk that is served read-only keeps its size', async (t) => {
  const { at, disk, serve, sealdisk } = rig(t);
  const path = await disk('bar');
  const server = await serve(path, '--socket', at('s'), '--read-only');
  t.match(await sealdisk('resize', path, '--size', '+1M'), { code: 4, err: /read-only.*\[DISK_RESIZE\]/ });
  t.equal(statSync(path).size, OFFSET + 16 * MIB);
  await server.stop();
});

for (const call of ['ftruncate', 'fsync']) {
  t.test(`killed at ${call}, resize leaves a whole disk of one size or the other`, async (t) => {
    const { disk, env, json } = rig(t);
    const path = await disk('bar');
    const inject = ['-e', `trace=${call}`, '-e', `inject=${call}:signal=SIGKILL:when=1`];
    const resizing = [process.execPath, MAIN, 'resize', path, '--size', '20M'];
    const { code } = await run('strace', ['-f', '-qq', '-o', '/dev/null', ...inject, ...resizing], env);
    t.equal(code, 'SIGKILL', `it was killed at ${call}`);
    const { sizeBytes } = await json('info', path);
    t.ok([16 * MIB, 20 * MIB].includes(Number(sizeBytes)), sizeBytes);
    t.match(await json('resize', path, '--size', '20M'), { sizeBytes: `${20 * MIB}` });
  });
}
