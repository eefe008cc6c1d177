/** A served disk under libnbd (nbdsh): what each request promises, and what is refused with which errno. */

import t from 'tap';
import { type Rig, rig, run } from '../cli/rig.js';

t.setTimeout(170_000);

/** Runs a Python program with `h` connected to `uri`; what it printed. */
async function nbdsh(uri: string, program: string): Promise<string> {
  const lines = ['-c', `h.set_strict_mode(0)`, '-c', `h.connect_uri("${uri}")`, '-c', program];
  const { code, out, err } = await run('nbdsh', lines);
  if (code !== 0) throw new Error(`nbdsh: ${code}\n${out}${err}`);
  return out;
}

const REFUSED = `
def refused(call):
    try:
        call()
        return "done"
    except nbd.Error as e:
        return e.errno
`;

async function served(r: Rig, ...options: string[]) {
  return r.serve(await r.disk('bar'), '--socket', r.at('s'), ...options);
}

t.test('FUA, flush, trim and zeroes do what they say, at any alignment', async (t) => {
  const r = rig(t);
  const server = await served(r);
  const out = await nbdsh(
    server.uri,
    `
h.pwrite(b"a" * 20000, 1, nbd.CMD_FLAG_FUA)
h.flush()
print(h.pread(20000, 1) == b"a" * 20000)
h.zero(5000, 3001)
print(h.pread(20000, 1) == b"a" * 3000 + bytes(5000) + b"a" * 12000)
h.zero(4096, 8192, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
print(h.pread(4096, 8192) == bytes(4096))
h.trim(4096, 16384)
h.trim(1, 16384)
h.flush()
print(len(h.pread(4096, 16384)), h.pread(1, 20000) == b"a")
h.pwrite(b"z" * (32 << 20 >> 1), 0)
print(h.pread(16 << 20, 0) == b"z" * (16 << 20))
`,
  );
  t.equal(out, 'True\nTrue\nTrue\n4096 True\nTrue\n');
  const { io } = await r.json('info', r.at('bar'));
  t.ok(Number(io.flushes) >= 2 && Number(io.readBytes) > 16 << 20, JSON.stringify(io));
  t.match(await server.stop(), { code: 0 });
});

t.test('what goes beyond the end is refused, and the connection lives on', async (t) => {
  const r = rig(t);
  const server = await served(r);
  const out = await nbdsh(
    server.uri,
    `${REFUSED}
end = 16 << 20
print(refused(lambda: h.pread(1, end)), refused(lambda: h.pread(4096, end - 1)))
print(refused(lambda: h.pwrite(b"x", end)), refused(lambda: h.pwrite(b"x" * 4096, end - 4095)))
print(refused(lambda: h.trim(4096, end)), refused(lambda: h.zero(4096, end - 1)))
print(refused(lambda: h.pread(1, (1 << 63) - 1)))
h.pwrite(b"y" * 4096, end - 4096)
print(h.pread(1, end - 1) == b"y")
`,
  );
  t.equal(out, 'EINVAL EINVAL\nENOSPC ENOSPC\nEINVAL ENOSPC\nEINVAL\nTrue\n');
  await server.stop();
});

t.test('a read-only disk refuses every write with EPERM and reads on', async (t) => {
  const r = rig(t);
  const server = await served(r, '--read-only');
  const out = await nbdsh(
    server.uri,
    `${REFUSED}
print(refused(lambda: h.pwrite(b"x", 0)), refused(lambda: h.trim(4096, 0)), refused(lambda: h.zero(4096, 0)))
h.flush()
print(len(h.pread(4096, 0)))
`,
  );
  t.equal(out, 'EPERM EPERM EPERM\n4096\n');
  await server.stop();
});

t.test('many commands in flight, each answered with its own bytes', async (t) => {
  const r = rig(t);
  const server = await served(r);
  const out = await nbdsh(
    server.uri,
    `
count = 512
size = 8192
pattern = lambda i: bytes([i % 251]) * size
waiting = set(h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(pattern(i))), i * size) for i in range(count))
def settle():
    while waiting:
        h.poll(-1)
        for cookie in list(waiting):
            if h.aio_command_completed(cookie):
                waiting.remove(cookie)
settle()
buffers = [nbd.Buffer(size) for i in range(count)]
waiting = set(h.aio_pread(buffers[i], i * size) for i in range(count))
settle()
print(all(bytes(buffers[i].to_bytearray()) == pattern(i) for i in range(count)))
`,
  );
  t.equal(out, 'True\n');
  await server.stop();
});

t.test('a flush on one connection covers the writes of another, and both see them', async (t) => {
  const r = rig(t);
  const server = await served(r);
  const out = await nbdsh(
    server.uri,
    `
other = nbd.NBD()
other.connect_uri("${server.uri}")
print(h.can_multi_conn(), other.can_multi_conn())
h.pwrite(b"one" * 1000, 0)
other.pwrite(b"two" * 1000, 3000)
other.flush()
print(other.pread(3000, 0) == b"one" * 1000, h.pread(3000, 3000) == b"two" * 1000)
other.shutdown()
h.flush()
print(h.pread(6000, 0) == b"one" * 1000 + b"two" * 1000)
`,
  );
  t.equal(out, 'True True\nTrue True\nTrue\n');
  t.match(await server.event('disconnected'), { reason: 'disconnect' });
  await server.stop();
});
