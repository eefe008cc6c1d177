import { pbkdf2Sync } from 'node:crypto';
import t from 'tap';
import { type JsonObject, parseJson } from '#sealdisk/luks2/json.js';
import { digestOf, geometryOf, parseMetadata } from '#sealdisk/luks2/metadata.js';
import type { AnyJson } from './broken/flaw.js';
import { DATA_KEY, ITERATIONS, OFFSET_BYTES, SALT, sampleHeader } from './sample.js';

const HDR = 16384;

function parsed(change: (json: AnyJson) => void) {
  const json = JSON.parse(JSON.stringify(sampleHeader().metadata));
  change(json);
  return parseMetadata(parseJson(JSON.stringify(json)) as JsonObject, HDR);
}

const keyslot = (offset: number, size: number) => ({
  type: 'luks2',
  key_size: 64,
  area: { type: 'raw', offset: String(offset), size: String(size) },
  kdf: { type: 'argon2id', time: 4, memory: 1048576, cpus: 4, salt: 'AAAA' },
  af: { type: 'luks1', stripes: 4000, hash: 'sha256' },
  priority: 1,
});

t.test('tells the geometry', async (t) => {
  t.same(geometryOf(sampleHeader({ sectorSize: 512 })), {
    offsetBytes: BigInt(OFFSET_BYTES),
    sectorSize: 512,
  });
  t.equal(geometryOf(sampleHeader()).sectorSize, 4096);
});

t.test('tells the digest', async (t) => {
  const digest = pbkdf2Sync(DATA_KEY, SALT, ITERATIONS, 32, 'sha256');
  t.same(digestOf(sampleHeader()), { salt: SALT, digest, iterations: ITERATIONS, hash: 'sha256' });
});

t.test('keeps keyslots that an owner added, and lets the digest list them', async (t) => {
  const first = keyslot(2 * HDR, 258048);
  const last = keyslot(OFFSET_BYTES - 258048, 258048);
  const metadata = parsed((json) => {
    Object.assign(json.keyslots, { 0: first, 31: last });
    json.digests['0'].keyslots = ['0', '31'];
  });
  t.same(JSON.parse(JSON.stringify(metadata.keyslots)), { 0: first, 31: last });
});

t.test('keeps tokens of others as they are', async (t) => {
  const token = { type: 'systemd-tpm2', keyslots: [], 'tpm2-pcrs': [7], nested: { a: [null, true, 0.5] } };
  const metadata = parsed((json) => Object.assign(json.tokens, { 5: token }));
  t.same(JSON.parse(JSON.stringify(metadata.tokens['5'])), token);
});

t.test('accepts persistent flags and an empty list of requirements', async (t) => {
  const { config } = parsed((json) =>
    Object.assign(json.config, { flags: ['allow-discards'], requirements: { mandatory: [] } }),
  );
  t.match(config, { flags: ['allow-discards'], requirements: { mandatory: [] } });
});

t.test('accepts a digest under another id', async (t) => {
  t.ok(
    parsed((json) => {
      json.digests = { 7: json.digests['0'] };
    }),
  );
});

t.test('takes no inherited name for an id of a keyslot', async (t) => {
  const json = JSON.parse(JSON.stringify(sampleHeader().metadata));
  json.digests['0'].keyslots = ['constructor'];
  t.throws(() => parseMetadata(json, HDR), { code: 'LUKS2_FIELD' }, 'even of an object that has a prototype');
});

t.test('accepts data that begins where the keyslots area ends', async (t) => {
  t.ok(parsed((json) => Object.assign(json.config, { keyslots_size: String(OFFSET_BYTES - 2 * HDR) })));
  t.ok(
    parsed((json) => Object.assign(json.config, { keyslots_size: '0' })),
    'or behind it',
  );
});
