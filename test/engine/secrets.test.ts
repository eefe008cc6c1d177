// Keys in the memory of a serving process: none in a core file, and after the key is lost none anywhere.

import { execFileSync, fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { found, foundInProcess, secretsOf } from './memory-search.js';

t.test('a serving process shows its key to no core file, and keeps none of it when it hangs', async (t) => {
  const dir = t.testdir();
  const keyPath = join(dir, 'key');
  const key = randomBytes(64);
  writeFileSync(keyPath, key, { mode: 0o600 });
  const secrets = secretsOf(key);

  const child = fork(fileURLToPath(new URL('./serving-child.js', import.meta.url)), [dir, keyPath]);
  t.teardown(() => child.kill('SIGKILL'));
  const tell = (message: string) =>
    new Promise<unknown>((resolve) => {
      child.once('message', resolve);
      child.send(message);
    });
  const pid = child.pid ?? 0;

  t.equal(await tell('live'), 'live');
  const live = foundInProcess(pid, secrets);
  for (const name of secrets.keys())
    t.ok(
      live.some((hit) => hit.startsWith(name)),
      `the search finds ${name} while live`,
    );

  execFileSync('gcore', ['-o', join(dir, 'core'), String(pid)], { stdio: 'ignore' });
  t.same(found(readFileSync(join(dir, `core.${pid}`)), secrets), [], 'the core file holds none');

  t.equal(await tell('hang'), 'hung');
  t.same(foundInProcess(pid, secrets), [], 'a hung process holds none');
});
