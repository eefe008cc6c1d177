import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { allocSecret, freeSecret } from '#sealdisk/kms/local/secret.js';
import { tempPool, until } from './pool.js';
import { startWorker } from './workers.js';

interface Region {
  readonly start: number;
  readonly end: number;
  readonly flags: string[];
}

t.test('a freed secret is gone, and freeing it twice is fine', async (t) => {
  const secret = allocSecret(32).fill(7);
  freeSecret(secret);
  t.equal(secret.length, 0);
  freeSecret(secret);
  freeSecret(undefined);
});

t.test('a data key stands in locked, undumped memory only, and the root key soon nowhere', async (t) => {
  const dir = join(await tempPool(t), 'kms');
  const worker = startWorker(t, dir, 'hold');
  await until('the worker holds a data key', () => worker.told().length === 1);
  const plaintext = Buffer.from((worker.told()[0] as number[]).map((byte) => byte ^ 0xff));
  const found = await search(worker.child.pid as number, plaintext);
  t.ok(found.length >= 2, `${found.length} copies, the two that it holds`);
  for (const { flags } of found) t.ok(flags.includes('lo') && flags.includes('dd'), flags.join(' '));
  const root = await readFile(join(dir, 'root.key'));
  const endMs = performance.now() + 30_000;
  let roots = await search(worker.child.pid as number, root);
  for (
    ;
    roots.length > 0 && performance.now() < endMs;
    roots = await search(worker.child.pid as number, root)
  ) {
    for (const { flags } of roots) t.ok(flags.includes('lo') && flags.includes('dd'), flags.join(' '));
  }
  t.same(roots, [], 'no root key');
  worker.child.stdin?.end('end\n');
  t.equal((await worker.ended)[1], true);
});

/** The regions of process `pid` that hold `needle`. */
async function search(pid: number, needle: Buffer): Promise<Region[]> {
  const memory = await open(`/proc/${pid}/mem`, 'r');
  const found: Region[] = [];
  try {
    for (const region of await regions(pid)) {
      const bytes = Buffer.alloc(Math.min(region.end - region.start, 1 << 26));
      for (let at = region.start; at < region.end; at += bytes.length - needle.length) {
        const { bytesRead } = await memory.read(bytes, 0, bytes.length, at).catch(() => ({ bytesRead: 0 }));
        if (bytes.subarray(0, bytesRead).includes(needle)) found.push(region);
        if (bytesRead < bytes.length || at + bytesRead >= region.end) break;
      }
    }
  } finally {
    await memory.close();
  }
  return found;
}

/** Readable, writable regions of a process that can be addressed with a double. */
async function regions(pid: number): Promise<Region[]> {
  const text = await readFile(`/proc/${pid}/smaps`, 'utf8');
  const heads = text.split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  return heads
    .filter((head) => /^\S+ rw/.test(head))
    .map((head) => {
      const [, start = '', end = ''] = /^([0-9a-f]+)-([0-9a-f]+)/.exec(head) ?? [];
      const flags = (/^VmFlags: (.*)$/m.exec(head)?.[1] ?? '').trim().split(' ');
      return { start: Number.parseInt(start, 16), end: Number.parseInt(end, 16), flags };
    });
}
