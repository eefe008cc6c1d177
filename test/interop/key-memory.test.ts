// The data key of a served disk, searched for in its process: nowhere in a core file, and after the key is lost nowhere.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t from 'tap';
import { found, foundInProcess, secretsOf } from '../engine/memory-search.js';

const CLI = 'dist/bin/sealdisk.cjs';
const DEADLINE_MS = 60_000;

async function until(what: string, holds: () => boolean): Promise<void> {
  const endsMs = performance.now() + DEADLINE_MS;
  while (!holds()) {
    if (performance.now() > endsMs) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

t.test('a server shows its key to no core file, and keeps none of it once the key is disabled', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'sealdisk-')); // short: a socket stands in it
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const env = { ...process.env, SEALDISK_POOL: join(dir, 'pool'), SEALDISK_RUN: join(dir, 'run') };
  const sealdisk = (...args: string[]) =>
    execFileSync(CLI, args, { env, stdio: ['ignore', 'pipe', 'pipe'] }).toString();
  const disk = join(dir, 'a.disk');
  const socket = join(dir, 's');
  sealdisk('key', 'create', '--alias', 'k');
  sealdisk('create', disk, '--size', '16M', '--key', 'alias/k');
  sealdisk('export-data-key', disk, '--out', join(dir, 'key'), '--yes');
  const secrets = secretsOf(readFileSync(join(dir, 'key')));

  const server = spawn(CLI, ['serve', disk, '--socket', socket, '--key-check-interval', '200ms'], {
    env,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  t.teardown(() => server.kill('SIGKILL'));
  const pid = server.pid ?? 0;
  const [uri] = await once(createInterface(server.stdout), 'line');
  execFileSync('qemu-io', ['-f', 'raw', '-c', 'write -P 7 0 4M', '-c', 'read -P 7 0 4M', uri], {
    stdio: 'ignore',
  });

  const live = foundInProcess(pid, secrets);
  t.ok(live.length > 0, 'the search finds the key of a live disk');
  t.notOk(
    live.some((hit) => hit.includes('[heap]')),
    'and not in the heap',
  );
  execFileSync('gcore', ['-o', join(dir, 'core'), `${pid}`], { stdio: 'ignore' });
  t.same(found(readFileSync(join(dir, `core.${pid}`)), secrets), [], 'the core file holds none');

  sealdisk('key', 'disable', 'alias/k', '--yes');
  await until('the gate to hang', () => JSON.parse(sealdisk('list', '--json'))[0].gate === 'hung');
  t.same(foundInProcess(pid, secrets), [], 'a hung server holds none');

  sealdisk('key', 'enable', 'alias/k');
  await until('the gate to open', () => JSON.parse(sealdisk('list', '--json'))[0].gate === 'live');
  t.ok(foundInProcess(pid, secrets).length > 0, 'the key is there again when it is enabled');
});
