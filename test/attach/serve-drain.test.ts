/** The end of a server under load: what it acknowledged is there, what had begun to arrive is answered, and it ends. */

import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import t from 'tap';
import { rig as openRig, type Rig, run, until } from '../cli/rig.js';
import { pskFile } from '../interop/tls-rig.js';

t.setTimeout(170_000);

const MIB = 1 << 20;

/**
 * Writes 128 blocks of 64 KiB from block `first` on, again and again, each with its turn in it and 16 at a time, until the
 * connection ends; prints for each block the last turn that was acknowledged, as "block turn".
 */
const WRITER = (uri: string, first: number) => `
BLOCK, MANY, FIRST = 65536, 128, ${first}
h.set_uri_allow_local_file(True)
h.connect_uri("${uri}")
acknowledged, turn, flying = {}, 0, 0
def done(block, mine):
    def callback(error):
        global flying
        flying -= 1
        busy.discard(block)
        if error.value == 0:
            acknowledged[block] = mine
        return 1
    return callback
busy = set()
try:
    while True:
        while flying < 16 and FIRST + turn % MANY not in busy:
            block = FIRST + turn % MANY
            busy.add(block)
            flying += 1
            data = nbd.Buffer.from_bytearray(bytearray(turn.to_bytes(8, "big") * (BLOCK // 8)))
            h.aio_pwrite(data, block * BLOCK, completion=done(block, turn))
            turn += 1
        h.poll(-1)
except nbd.Error:
    pass
for block, mine in acknowledged.items():
    print(block, mine)
`;

/** Blocks whose content is older than what was acknowledged. */
function lost(said: string, content: Buffer): string[] {
  return said
    .trim()
    .split('\n')
    .filter((line) => {
      const [block, turn] = line.split(' ').map(Number) as [number, number];
      return Number(content.readBigUInt64BE(block * 65_536)) < turn;
    });
}

t.test('every write that was acknowledged before SIGTERM is there after it, over TLS too', async (t) => {
  const r = openRig(t);
  const disk = await r.disk('data');
  const psk = ['--tls', 'on', '--tls-psk', pskFile(r.at('keys.psk'), 'carol')];
  const server = await r.serve(disk, '--socket', r.at('s'), '--listen', '127.0.0.1:0', ...psk);
  const { exports } = await server.event('serving');
  const tcp = (exports as { uris: string[] }[])[0]?.uris[1] ?? '';
  const inTls = `nbds+unix://carol@/?socket=${r.at('s')}&tls-psk-file=${r.at('keys.psk')}`;
  const writers = [inTls, tcp.replace('nbds:', 'nbd:')].map((uri, i) =>
    run('nbdsh', ['-c', WRITER(uri, 128 * i)]),
  );
  await server.event('connected', 2);
  const writes = async () => Number((await r.status()).writes);
  const before = await writes();
  await until('both write', async () => (await writes()) > before + 600);
  const { code, log } = await server.stop();
  t.equal(code, 0, log);
  t.notMatch(log, /drain_cut|"level":(50|60)/, 'nobody had to be cut');
  const again = await r.serve(disk, '--socket', r.at('again'));
  t.match(await run('nbdcopy', [again.uri, r.at('image')]), { code: 0 });
  await again.stop();
  const content = readFileSync(r.at('image'));
  for (const { out, err } of await Promise.all(writers)) {
    t.ok(out.split('\n').length > 50, `acknowledged: ${out.split('\n').length} blocks ${err}`);
    t.same(lost(out, content), []);
  }
});

/** A client that has gone through the handshake by hand; `read(bytes)` waits for so many. */
async function rawClient(path: string) {
  const socket: Socket = connect(path);
  const chunks: Buffer[] = [];
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.on('error', () => {});
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  const got = () => Buffer.concat(chunks);
  await until('the greeting', () => got().length >= 18);
  const exportName = Buffer.alloc(16);
  exportName.write('IHAVEOPT');
  exportName.writeUInt32BE(1, 8);
  socket.write(Buffer.concat([Buffer.from([0, 0, 0, 3]), exportName]));
  await until('the export', () => got().length >= 28);
  return { socket, closed, replies: () => got().subarray(28) };
}

function request(command: number, cookie: number, lengthBytes: number): Buffer {
  const header = Buffer.alloc(28);
  header.writeUInt32BE(0x25609513);
  header.writeUInt16BE(command, 6);
  header.writeBigUInt64BE(BigInt(cookie), 8);
  header.writeUInt32BE(lengthBytes, 24);
  return header;
}

const served = async (r: Rig, ...words: string[]) => {
  const disk = await r.disk('data');
  return { disk, server: await r.serve(disk, '--socket', r.at('s'), ...words) };
};

t.test('a large write that is just arriving is finished, answered and kept', async (t) => {
  const r = openRig(t);
  const { disk, server } = await served(r);
  const client = await rawClient(r.at('s'));
  const idle = await rawClient(r.at('s'));
  const payload = Buffer.alloc(8 * MIB, 'sealdisk');
  client.socket.write(Buffer.concat([request(1, 77, payload.length), payload.subarray(0, 3 * MIB)]));
  await until('it has begun to arrive', () => client.socket.writableLength === 0);
  const ended = server.stop();
  await server.event('stopping');
  await idle.closed;
  client.socket.write(payload.subarray(3 * MIB));
  await client.closed;
  t.equal(client.replies().toString('hex'), '6744669800000000000000000000004d');
  t.match(await ended, { code: 0 });
  const again = await r.serve(disk, '--socket', r.at('again'));
  t.match(await run('nbdcopy', [again.uri, r.at('image')]), { code: 0 });
  t.ok(readFileSync(r.at('image')).subarray(0, payload.length).equals(payload));
  await again.stop();
});

t.test(
  'a client that reads no replies, or never ends its request, delays the end by no more than it may',
  async (t) => {
    const r = openRig(t);
    const { server } = await served(r, '--drain-timeout', '700ms');
    const deaf = await rawClient(r.at('s'));
    deaf.socket.pause();
    deaf.socket.write(Buffer.concat([1, 2, 3].map((cookie) => request(0, cookie, 8 * MIB))));
    await until('it is answered', async () => Number((await r.status()).reads) === 3);
    const slow = await rawClient(r.at('s'));
    slow.socket.write(request(1, 4, MIB));
    await until('it has sent its header', () => slow.socket.writableLength === 0);
    const startedMs = performance.now();
    const { code, log } = await server.stop();
    t.equal(code, 0, log);
    t.ok(performance.now() - startedMs >= 700);
    t.ok((log.match(/drain_cut/g) ?? []).length >= 1, log);
    deaf.socket.destroy();
  },
);

t.test('requests that wait for a key are dropped at once, and the other export is drained', async (t) => {
  const r = openRig(t);
  const [one, two] = [await r.disk('one'), await r.disk('two')];
  const server = await r.serve(one, two, '--socket', r.at('s'), '--drain-timeout', '1m');
  const uri = (name: string) => `nbd+unix:///${name}?socket=${r.at('s')}`;
  await r.kms.disableKey('alias/one');
  await server.event('key_lost');
  const waiting = run('qemu-io', ['-f', 'raw', '-c', 'write -P 1 0 64k', uri('one')]);
  const writing = run('nbdsh', ['-c', WRITER(uri('two'), 0)]);
  await until('one waits', async () => (await r.json('info', one)).io.parked === 1);
  await until('two writes', async () => Number((await r.json('info', two)).io.writes) > 100);
  const startedMs = performance.now();
  t.match(await server.stop(), { code: 0 });
  t.ok(performance.now() - startedMs < 60_000, 'the drain timeout is not waited for');
  t.match(await waiting, { code: 1 });
  t.ok((await writing).out.length > 0);
});
