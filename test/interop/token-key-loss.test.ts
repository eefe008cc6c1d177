/** Disks whose keys lie on a PKCS#11 token and on a KMIP server: taken away there, I/O hangs; given back, it goes on. */

import { readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { type Rig, rig, run, until } from '../cli/rig.js';
import { foundInProcess, secretsOf } from '../engine/memory-search.js';
import { PyKmip } from '../kms/pykmip.js';
import { SoftHsm } from '../kms/softhsm.js';

t.setTimeout(170_000);

/** Makes a disk under `key`, serves it, and takes the key away under a read. */
async function hangsAndGoesOn(
  t: Test,
  r: Rig,
  key: string,
  disable: () => Promise<unknown>,
  enable: () => Promise<unknown>,
): Promise<void> {
  const made = await r.json('create', r.at('d'), '--size', '16M', '--key', key);
  t.equal(made.keyUri, key);
  const server = await r.serve(r.at('d'), '--socket', r.at('s'), '--key-check-interval', '100ms');
  const io = (what: string) => run('qemu-io', ['-f', 'raw', '-c', what, server.uri]);
  t.match(await io('write -P 7 0 1M'), { code: 0 });
  await r.json('export-data-key', r.at('d'), '--out', r.at('key'), '--yes');
  const secrets = secretsOf(readFileSync(r.at('key')));
  await disable();
  t.match(await server.event('key_lost'), { code: 'KMS_KEY_DISABLED', gate: 'hung' });
  const pids = [server.pid, ...childrenOf(server.pid)];
  t.same(
    pids.flatMap((pid) => foundInProcess(pid, secrets)),
    [],
    'neither the server nor its helper keeps any of the key',
  );
  const reading = io('read -P 7 0 1M');
  await until('the read waits', async () => (await r.status()).parked > 0);
  t.match(await r.status(), { gate: 'hung', reason: `key ${key} is disabled` });
  await enable();
  await server.event('key_restored', 2);
  t.match(await reading, { code: 0, out: /read 1048576/ });
  await server.stop();
}

const childrenOf = (pid: number): number[] =>
  (readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').match(/\d+/g) ?? []).map(Number);

t.test('a disk under a key of a SoftHSM token', async (t) => {
  const r = rig(t);
  const hsm = new SoftHsm(r.dir, 'disks');
  t.teardown(() => hsm.stop());
  Object.assign(r.env, hsm.env, { SOFTHSM2_CONF: process.env.SOFTHSM2_CONF });
  await hsm.make('bar', 'a1b2');
  const key = 'pkcs11:token=disks;object=bar';
  const set = (decrypt: boolean) => () => hsm.change('a1b2', { CKA_DECRYPT: decrypt });
  await hangsAndGoesOn(t, r, key, set(false), set(true));
});

t.test('a disk under a key of a PyKMIP server', async (t) => {
  const r = rig(t);
  const kmip = await PyKmip.start(r.dir);
  t.teardown(() => kmip.stop());
  Object.assign(r.env, kmip.env);
  const uid = await kmip.create();
  const key = `kmip://127.0.0.1:${kmip.port}/${uid}`;
  await hangsAndGoesOn(
    t,
    r,
    key,
    () => kmip.revoke(uid),
    () => kmip.putBack(uid),
  );
});
