import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { encodeCopy, HDR_SIZE_MAX_BYTES, sealCopy } from '#sealdisk/luks2/header.js';
import { sampleHeader } from '../luks2/sample.js';
import { fuzzLuks2 } from './luks2.js';

const SEED = Number(process.env.SEED ?? Date.now() >>> 0);
const RUNS = Number(process.env.RUNS ?? 2000);
const MEMORY_MAX_BYTES = 64 << 20;
const ROOM = HDR_SIZE_MAX_BYTES - 4096 - 1;

t.test(`a damaged header opens or is refused by the catalogue (SEED=${SEED} RUNS=${RUNS})`, async (t) => {
  const { opened, codes } = await fuzzLuks2(SEED, RUNS);
  t.comment(JSON.stringify({ opened, ...codes }));
  if (RUNS < 2000) return;
  t.ok(opened > 0, 'some damage is harmless');
  for (const code of ['LUKS2_CHECKSUM', 'LUKS2_JSON', 'LUKS2_FIELD', 'LUKS2_DIGEST', 'LUKS2_TOKEN']) {
    t.ok(codes[code], `${code} was met`);
  }
});

t.test('the same seed meets the same', async (t) => {
  t.same(await fuzzLuks2(7, 200), await fuzzLuks2(7, 200));
});

/** JSON texts of 4 MiB, each dear to read in its own way. */
const DEAR: Record<string, () => string> = {
  'empty objects': () => `{"a":[${filled('{},', ROOM - 10).slice(0, -1)}]}`,
  'empty arrays': () => `{"a":[${filled('[],', ROOM - 10).slice(0, -1)}]}`,
  zeros: () => `{"a":[${filled('0,', ROOM - 10).slice(0, -1)}]}`,
  'distinct keys': () => `{${Array.from({ length: 300_000 }, (_, i) => `"${i}k":0`).join(',')}}`,
  depth: () => `{"a":${'['.repeat(ROOM - 10)}`,
  'one string': () => `{"a":"${'x'.repeat(ROOM - 10)}"}`,
  'one string of wide characters': () => `{"a":"${'\u20ac'.repeat((ROOM - 10) / 3)}"}`,
  'one string of escapes': () => `{"a":"${filled('\\u20ac', ROOM - 10)}"}`,
  'one key': () => `{"${'k'.repeat(ROOM - 10)}":0}`,
  'one number': () => `{"a":${'1'.repeat(ROOM - 10)}}`,
  'one token of many values': () => {
    const text = JSON.stringify(sampleHeader().metadata).replace('"12288"', `"${HDR_SIZE_MAX_BYTES - 4096}"`);
    const values = filled('{},', 90_000).slice(0, -1);
    return text
      .replace('"16777216"', '"33554432"')
      .replace('"tokens":{', `"tokens":{"9":{"type":"x","keyslots":[],"v":[${values}]},`);
  },
};

const filled = (piece: string, sizeBytes: number) => piece.repeat(Math.floor(sizeBytes / piece.length));

for (const [what, make] of Object.entries(DEAR)) {
  t.test(`two copies of 4 MiB of ${what} cost less than 64 MiB`, async (t) => {
    const dir = t.testdir();
    const path = join(dir, 'dear.img');
    const small = join(dir, 'small.img');
    writeFileSync(small, encodeCopy(sampleHeader(), 'primary'));
    writeFileSync(path, Buffer.concat([dearCopy('primary', make()), dearCopy('secondary', make())]));
    const program = fileURLToPath(new URL('luks2-memory.js', import.meta.url));
    const out = execFileSync(process.execPath, ['--expose-gc', program, path, small], {
      encoding: 'utf8',
      timeout: 60_000,
    });
    const { code, peakBytes } = JSON.parse(out);
    t.comment(`${code}, ${(peakBytes / 2 ** 20).toFixed(1)} MiB`);
    t.match(code, what === 'one token of many values' ? 'opened' : /^LUKS2_(JSON|FIELD)$/);
    t.ok(peakBytes > 0 && peakBytes < MEMORY_MAX_BYTES, `${peakBytes} bytes`);
  });
}

function dearCopy(which: 'primary' | 'secondary', text: string): Buffer {
  const header = sampleHeader();
  const copy = encodeCopy({ ...header, hdrSizeBytes: HDR_SIZE_MAX_BYTES }, which);
  copy.fill(0, 4096).write(text, 4096);
  return sealCopy(copy);
}
