/**
 * A KMS that answers with a key of another size, or with another key: the header's digest catches it before a byte is
 * served, at the start and when a disk that hangs is to go on. The KMS is a program that says what it is told to say.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { createDisk } from '#sealdisk/disk/create.js';
import { readDisk } from '#sealdisk/disk/read.js';
import { ServedDisk } from '#sealdisk/disk/served-disk.js';
import { openProvider } from '#sealdisk/kms/registry.js';
import { tempPool, until } from '../kms/pool.js';
import { SILENT, TIMEOUT_MS } from './rig.js';

const ENABLED = '{"keyId":"k","state":"enabled"}';
const SERVING = {
  terms: { onKeyLoss: 'hang', checkIntervalMs: 20, graceMs: 60_000 },
  readOnly: false,
  direct: false,
  discard: false,
  kmsWaitMs: 0,
  takeover: false,
} as const;

/** A disk under a key of the program, which keeps what it wrapped. */
async function lyingKms(t: Test) {
  const dir = await tempPool(t);
  const at = (name: string) => join(dir, name);
  const program = [
    '#!/bin/sh',
    'read -r ask',
    'case $ask in',
    `*'"describe"'*) cat ${at('describe')} ;;`,
    `*'"wrap"'*) echo "$ask" >${at('asked')}; echo '{"keyId":"k","ciphertext":"AAAA"}' ;;`,
    `*) echo x >>${at('unwraps')}; cat ${at('unwrap')} ;;`,
    'esac\n',
  ];
  writeFileSync(at('kms'), program.join('\n'), { mode: 0o755 });
  const says = (operation: string, answer: string) => writeFileSync(at(operation), answer);
  says('describe', ENABLED);
  const provider = () =>
    openProvider(`exec://${at('kms')}?key=k`, { poolDir: dir, env: {}, namedByOwner: true });
  const disk = {
    path: at('disk'),
    sizeBytes: 1n << 20n,
    sectorSize: 4096,
    name: '',
    tags: {},
    discard: false,
  } as const;
  await createDisk(disk, await provider(), TIMEOUT_MS);
  const key = Buffer.from(JSON.parse(readFileSync(at('asked'), 'utf8')).plaintext, 'base64');
  const gates: string[] = [];
  return {
    key,
    gates,
    disable: () => says('describe', '{"keyId":"k","state":"disabled"}'),
    enable: () => says('describe', ENABLED),
    unwrapsTo: (bytes: Buffer) => says('unwrap', `{"plaintext":"${bytes.toString('base64')}"}`),
    unwraps: () => readFileSync(at('unwraps'), 'utf8').length,
    open: async () =>
      ServedDisk.open(await readDisk(disk.path), await provider(), SERVING, SILENT, (gate) =>
        gates.push(gate),
      ),
  };
}

/** What a KMS may give in the place of `key`. */
function lies(key: Buffer): [title: string, bytes: Buffer, code: string][] {
  const twisted = (at: number): Buffer => Buffer.from(key.map((byte, i) => (i === at ? byte ^ 1 : byte)));
  return [
    ['a key with its first bit changed', twisted(0), 'LUKS2_ALTERED'],
    ['a key with its last bit changed', twisted(63), 'LUKS2_ALTERED'],
    ['a key of zeros', Buffer.alloc(64), 'KMS_INVALID_CIPHERTEXT'],
    ['half of the key', key.subarray(0, 32), 'KMS_INVALID_CIPHERTEXT'],
    ['all but a byte of it', key.subarray(0, 63), 'KMS_INVALID_CIPHERTEXT'],
    ['the key and a byte', Buffer.concat([key, Buffer.alloc(1)]), 'KMS_INVALID_CIPHERTEXT'],
    ['the key twice', Buffer.concat([key, key]), 'KMS_INVALID_CIPHERTEXT'],
    ['nothing', Buffer.alloc(0), 'KMS_BAD_REPLY'],
  ];
}

t.test('at the start the disk is refused', async (t) => {
  const kms = await lyingKms(t);
  t.equal(kms.key.length, 64);
  for (const [title, bytes, code] of lies(kms.key)) {
    kms.unwrapsTo(bytes);
    await t.rejects(kms.open(), { code }, title);
  }
  t.same(kms.gates, [], 'the gate never opened');
  kms.unwrapsTo(kms.key);
  const served = await kms.open();
  t.equal(served.status.gate, 'live', 'and with its own key it is served');
  await served.close();
});

t.test('a disk that hangs goes on with its own key only', async (t) => {
  const kms = await lyingKms(t);
  kms.unwrapsTo(kms.key);
  const served = await kms.open();
  t.teardown(() => served.close());
  kms.disable();
  await until('it hangs', () => served.status.gate === 'hung');
  for (const [title, bytes] of lies(kms.key)) {
    kms.unwrapsTo(bytes);
    const before = kms.unwraps();
    kms.enable();
    // The second was asked for after the answer to the first was judged.
    await until('it was tried twice', () => kms.unwraps() >= before + 4);
    t.equal(served.status.gate, 'hung', title);
    kms.disable();
    await until('the disable is seen', () => /disabled/.test(served.status.reason));
  }
  t.same(kms.gates, ['live', 'hung'], 'the gate never opened');
  kms.unwrapsTo(kms.key);
  kms.enable();
  await until('it goes on', () => served.status.gate === 'live');
});
