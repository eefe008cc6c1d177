/**
 * A hundred servers, each with a disk under the same key, and one client of libnbd with a connection to each: the key is
 * disabled and enabled, the KMS goes for longer than the grace and comes back, and every write is there.
 */

import { spawn } from 'node:child_process';
import { renameSync } from 'node:fs';
import { createInterface } from 'node:readline';
import t from 'tap';
import { createDisk } from '#sealdisk/disk/create.js';
import { openProvider } from '#sealdisk/kms/registry.js';
import { rig, type Serving } from '../cli/rig.js';

t.setTimeout(280_000);

const SERVERS = 100;
const AT_ONCE = 4;

/** Writes to all when it is told a number, and says so when all have answered; tells what is there at the end. */
const CLIENT = `
import nbd, sys
size = 4096
disks = []
for path in sys.stdin.readline().split():
    h = nbd.NBD()
    h.connect_unix(path)
    disks.append(h)
print("connected", flush=True)
def block(i, n): return bytearray(f"disk {i} write {n}\\n".encode().ljust(size, b"."))
for line in sys.stdin:
    n = int(line)
    cookies = [h.aio_pwrite(nbd.Buffer.from_bytearray(block(i, n)), n * size) for i, h in enumerate(disks)]
    print(f"sent {n}", flush=True)
    for h, cookie in zip(disks, cookies):
        while not h.aio_command_completed(cookie): h.poll(-1)
    print(f"written {n}", flush=True)
    last = n
wrong = sum(h.pread(size, n * size) != block(i, n) for i, h in enumerate(disks) for n in range(last + 1))
print(f"wrong {wrong}", flush=True)
`;

async function inTurns<T>(items: T[], work: (item: T, i: number) => Promise<void>): Promise<void> {
  const rest = items.entries();
  const worker = async () => {
    for (const [i, item] of rest) await work(item, i);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

t.test('every one of a hundred servers hangs and goes on, and loses nothing', async (t) => {
  const r = rig(t);
  await r.kms.createKey({ alias: 'alias/bar' });
  const provider = await openProvider('local:alias/bar', { poolDir: r.at('pool'), env: {} });
  const names = Array.from({ length: SERVERS }, (_, i) => `d${i}`);
  const servers: Serving[] = [];
  await inTurns(names, async (name, i) => {
    const disk = {
      path: r.at(name),
      sizeBytes: 1n << 20n,
      sectorSize: 4096,
      name,
      tags: {},
      discard: false,
    } as const;
    await createDisk(disk, provider, 10_000);
    const terms = ['--key-check-interval', '1s', '--kms-grace', '2s'];
    servers[i] = await r.serve(r.at(name), '--socket', r.at(`s${i}`), ...terms);
  });
  const client = spawn('/usr/bin/python3', ['-c', CLIENT], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.teardown(() => client.kill('SIGKILL'));
  const lines = createInterface({ input: client.stdout })[Symbol.asyncIterator]();
  const says = async (line: string) => t.equal((await lines.next()).value, line);
  const tell = (text: string) => client.stdin.write(`${text}\n`);
  /** The nth time that each server says so. */
  const all = (event: string, nth: number) => Promise.all(servers.map((server) => server.event(event, nth)));

  tell(names.map((_, i) => r.at(`s${i}`)).join(' '));
  await says('connected');
  tell('0');
  await says('sent 0');
  await says('written 0');
  const startMs = performance.now();
  await r.kms.disableKey('alias/bar');
  await all('key_lost', 1);
  t.comment(`disabled, all hung after ${(performance.now() - startMs).toFixed(0)} ms`);
  tell('1');
  await says('sent 1');
  const enabledMs = performance.now();
  await r.kms.enableKey('alias/bar');
  await all('key_restored', 2);
  t.comment(`enabled, all live after ${(performance.now() - enabledMs).toFixed(0)} ms`);
  await says('written 1');
  renameSync(r.at('pool/kms'), r.at('pool/away'));
  await all('key_lost', 2);
  tell('2');
  await says('sent 2');
  renameSync(r.at('pool/away'), r.at('pool/kms'));
  await all('key_restored', 3);
  await says('written 2');
  client.stdin.end();
  await says('wrong 0');
  const codes = await Promise.all(servers.map(async (server) => (await server.stop()).code));
  t.same(new Set(codes), new Set([0]));
});
