/**
 * NBD_FLAG_CAN_MULTI_CONN: a FLUSH on one connection covers the completed writes of all.
 *
 * The witness is strace, which sees the server's system calls on the disk's file in their order, and makes them fail. The
 * worker pool is taken, for io_uring's operations are no system calls.
 */

import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { DEADLINE_MS, type Rig, rig, run } from '../cli/rig.js';

t.setTimeout(170_000);

async function nbdsh(program: string): Promise<string> {
  const { code, out, err } = await run('nbdsh', ['-n', '-c', program]);
  if (code !== 0) throw new Error(`nbdsh: ${code}\n${out}${err}`);
  return out;
}

/** A disk served under strace (-D: strace is the child, so signals reach the server), and where the trace is. */
async function traced(r: Rig, ...options: string[]) {
  const trace = r.at('trace');
  const disk = await r.disk('bar');
  const strace = [
    'strace',
    '-D',
    '-f',
    '-y',
    '-qq',
    '-o',
    trace,
    '-e',
    'trace=pwrite64,fdatasync',
    ...options,
  ];
  const server = await r.serveBy(strace, { SEALDISK_IO: 'pool' }, disk, '--socket', r.at('s'));
  return { server, disk, trace };
}

async function until(what: string, holds: () => boolean): Promise<void> {
  const endMs = performance.now() + DEADLINE_MS;
  while (!holds()) {
    if (performance.now() > endMs) throw new Error(`${what}: not within ${DEADLINE_MS} ms`);
    await delay(20);
  }
}

/** The calls on the file, in order: W where a write ended, S where a sync began. */
function callsOn(file: string, trace: string): string {
  const writing = new Set<string>();
  let calls = '';
  for (const line of readFileSync(trace, 'utf8').split('\n')) {
    const [, thread = '', call = ''] = /^(\d+) +(.*)$/.exec(line) ?? [];
    const ended = call.endsWith(' = 4096');
    if (call.startsWith('pwrite64(') && call.includes(`<${file}>`)) {
      if (ended) calls += 'W';
      else writing.add(thread);
    } else if (call.startsWith('<... pwrite64 resumed>') && writing.delete(thread)) {
      calls += ended ? 'W' : '?';
    } else if (call.startsWith('fdatasync(') && call.includes(`<${file}>`)) {
      calls += 'S';
    }
  }
  return calls;
}

t.test('a flush syncs the file after the writes that other connections have completed', async (t) => {
  const r = rig(t);
  const { server, disk, trace } = await traced(r);
  await nbdsh(`
others = [nbd.NBD() for i in range(3)]
h = nbd.NBD()
for one in others + [h]:
    one.connect_uri("${server.uri}")
for round in range(4):
    for i, one in enumerate(others):
        one.pwrite(bytes([65 + round]) * 4096, 4096 * i)
    h.flush()
`);
  await server.stop();
  await until('the whole trace', () => callsOn(disk, trace).length >= 17);
  t.match(callsOn(disk, trace), /^(WWWS){4}S+$/, 'and once more at its end');
});

t.test('a sync that fails is told to the connection that flushed, and from then on to all', async (t) => {
  const r = rig(t);
  const { server } = await traced(r, '-e', 'inject=fdatasync:error=EIO:when=1');
  const out = await nbdsh(`
writer = nbd.NBD()
h = nbd.NBD()
def flushed(one):
    try:
        one.flush()
        return "done"
    except nbd.Error as e:
        return e.errno
for one in (writer, h):
    one.connect_uri("${server.uri}")
writer.pwrite(b"a" * 4096, 0)
print(flushed(h), flushed(writer), flushed(h))
`);
  t.equal(out.trim(), 'EIO EIO EIO');
  await server.stop();
});
