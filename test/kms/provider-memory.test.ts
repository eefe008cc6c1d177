/**
 * What a provider leaves of a data key in the memory of the process that used it: neither its bytes nor their base64,
 * though it came and went as JSON; above all no JavaScript string, which nobody can wipe.
 *
 * Left out is memory that was freed by malloc(3): Node reads from sockets and programs into blocks of its own, and moves
 * what has come to a smaller one without wiping the first. Of TLS nothing is shown here.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { foundInProcess } from '../engine/memory-search.js';
import { FakeVault } from './fake-vault.js';
import { tempPool } from './pool.js';

const CHILD = fileURLToPath(new URL('./provider-memory-child.js', import.meta.url));

/** Pieces of the key, and of its base64 at each phase that a copy may begin with. */
function pieces(key: Buffer): Map<string, Buffer> {
  const base64 = key.toString('base64');
  return new Map([
    ...[0, 16, 32, 48].map((at) => [`bytes ${at}`, key.subarray(at, at + 16)] as const),
    ...[0, 22, 44].map((at) => [`base64 ${at}`, Buffer.from(base64.slice(at, at + 22))] as const),
  ]);
}

/** Makes a data key, unwraps it, frees both and waits; `hold` keeps a string of it, which must be found. */
async function leavesBehind(t: Test, uri: string, env: NodeJS.ProcessEnv, key: () => Buffer, hold = false) {
  const child = spawn(process.execPath, [CHILD, uri, hold ? 'hold' : 'free'], {
    env: { ...process.env, ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  const found = foundInProcess(child.pid as number, pieces(key())).filter((at) => !at.endsWith('[heap]'));
  child.stdin.end();
  await once(child, 'exit');
  return found;
}

t.test('a program behind exec:', async (t) => {
  const at = (
    (dir) => (name: string) =>
      join(dir, name)
  )(await tempPool(t));
  const program = `#!/bin/sh
read -r ask
case $ask in
*'"wrap"'*) echo "$ask" >${at('asked')}; echo '{"keyId":"k","ciphertext":"AAAA"}' ;;
*) sed 's/.*"plaintext"/{"plaintext"/' ${at('asked')} ;;
esac
`;
  writeFileSync(at('kms'), program, { mode: 0o755 });
  const key = () => Buffer.from(JSON.parse(readFileSync(at('asked'), 'utf8')).plaintext, 'base64');
  t.same(await leavesBehind(t, `exec://${at('kms')}?key=k`, {}, key), []);
  t.not(
    (await leavesBehind(t, `exec://${at('kms')}?key=k`, {}, key, true)).length,
    0,
    'what is held is found',
  );
});

t.test('Vault', async (t) => {
  const vault = await FakeVault.start(t);
  vault.addKey('disks');
  const env = { VAULT_ADDR: vault.origin, VAULT_TOKEN: vault.addToken() };
  t.same(await leavesBehind(t, 'hashivault://disks', env, () => vault.lastPlaintext), []);
});
