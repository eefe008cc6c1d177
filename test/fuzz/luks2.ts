/**
 * Fuzzes the LUKS2 reader: whatever a file holds, reading ends soon, in a header that stands being written and read again or
 * in a catalogued error of one printable line, never in another exception.
 *
 * Three kinds of damage: bytes of a copy, JSON as a value, JSON as text; checksums are mostly made right again, since
 * otherwise nothing gets past them. `node dist-test/fuzz/luks2.js` runs it; it prints its seed. SEED=n RUNS=n replay.
 */

import { fileURLToPath } from 'node:url';
import { SealdiskError } from '#sealdisk/errors.js';
import { readHeader, writeHeader } from '#sealdisk/luks2/copies.js';
import { checkFits } from '#sealdisk/luks2/fits.js';
import { encodeCopy, HDR_SIZES_BYTES, type Luks2Header, sealCopy } from '#sealdisk/luks2/header.js';
import { macMessage } from '#sealdisk/luks2/mac.js';
import { digestOf } from '#sealdisk/luks2/metadata.js';
import { tokenOf } from '#sealdisk/luks2/token.js';
import { MemoryFile } from '../luks2/memory-file.js';
import { sampleHeader } from '../luks2/sample.js';
import { damageBytes, damageText, damageValue, type Json } from './luks2-damage.js';
import { Random } from './random.js';

const JSON_AT = 4096;
/** Generous: the machine may be busy. The slowest reading measured took 60 ms. */
const READ_MAX_MS = 5000;

export interface Tally {
  readonly runs: number;
  opened: number;
  readonly codes: Record<string, number>;
}

/** Runs `runs` cases; throws with the seed of the case when one ends in anything but a header or a catalogued error. */
export async function fuzzLuks2(seed: number, runs: number): Promise<Tally> {
  const tally: Tally = { runs, opened: 0, codes: {} };
  for (let run = 0; run < runs; run++) {
    const caseSeed = (seed + run) >>> 0;
    try {
      const code = await judge(damagedImage(new Random(caseSeed)));
      if (code === 'opened') tally.opened++;
      else tally.codes[code] = (tally.codes[code] ?? 0) + 1;
    } catch (error) {
      throw new Error(`SEED=${caseSeed} RUNS=1 fails: ${(error as Error).message}`, { cause: error });
    }
  }
  return tally;
}

async function judge(image: Buffer): Promise<string> {
  const startMs = performance.now();
  const code = await outcomeOf(image);
  const tookMs = performance.now() - startMs;
  if (tookMs > READ_MAX_MS) throw new Error(`reading took ${tookMs} ms`);
  return code;
}

async function outcomeOf(image: Buffer): Promise<string> {
  try {
    const { header } = await readHeader(new MemoryFile(image), 'fuzzed.img');
    await mustStand(header);
    tokenOf(header);
    macMessage(header);
    digestOf(header);
    checkFits(header, 1n << 40n);
    return 'opened';
  } catch (error) {
    if (!(error instanceof SealdiskError)) throw error;
    if (error.group !== 'refused') throw error;
    if (!/^[\x20-\x7e…]{1,400}$/.test(error.message))
      throw new Error(`message ${JSON.stringify(error.message)}`);
    return error.code;
  }
}

/** What was read is written, and reads back as it was. (JSON that only just fit may grow by its escapes.) */
async function mustStand(header: Luks2Header): Promise<void> {
  if (header.seqid === 2n ** 64n - 1n) return;
  const file = new MemoryFile(Buffer.alloc(2 * header.hdrSizeBytes));
  let written: Luks2Header;
  try {
    written = await writeHeader(file, 'again.img', header);
  } catch (error) {
    if (error instanceof SealdiskError && error.code === 'LUKS2_JSON_FULL') return;
    throw error;
  }
  const again = await readHeader(file, 'again.img');
  const same = JSON.stringify(again.header.metadata) === JSON.stringify(written.metadata);
  if (!same || again.repair !== 'none') throw new Error('a header that was read does not read back');
}

function damagedImage(random: Random): Buffer {
  const header = { ...baseHeader(random), seqid: BigInt(random.below(5)) };
  const image = Buffer.alloc(2 * header.hdrSizeBytes);
  const both = random.chance(0.7);
  const one = random.pick(['primary', 'secondary'] as const);
  for (const which of ['primary', 'secondary'] as const) {
    const copy = encodeCopy(header, which);
    if (both || which === one) damageCopy(copy, random);
    copy.copy(image, which === 'primary' ? 0 : header.hdrSizeBytes);
  }
  return random.chance(0.03) ? image.subarray(0, random.below(image.length)) : image;
}

function damageCopy(copy: Buffer, random: Random): void {
  const kind = random.below(10);
  if (kind < 3) damageBytes(copy, random);
  else {
    const area = copy.subarray(JSON_AT);
    let text = area.subarray(0, area.indexOf(0)).toString();
    if (kind < 8) {
      const json = JSON.parse(text) as Json;
      for (let n = 1 + random.below(3); n > 0; n--) damageValue(json, random);
      text = JSON.stringify(json);
    } else text = damageText(text, random);
    area.fill(0).write(text);
  }
  if (random.chance(0.95)) sealCopy(copy);
}

/** Now and then a larger header, and the keyslots of an owner. */
function baseHeader(random: Random): Luks2Header {
  const header = sampleHeader({ sectorSize: random.pick([512, 4096] as const) });
  const hdrSizeBytes = random.chance(0.1) ? random.pick(HDR_SIZES_BYTES.slice(0, 6)) : 16384;
  const keyslots = random.chance(0.5) ? { '0': keyslot(2 * hdrSizeBytes) } : {};
  const digests = { '0': { ...header.metadata.digests['0'], keyslots: Object.keys(keyslots) } };
  const config = { json_size: String(hdrSizeBytes - 4096), keyslots_size: '8388608' };
  const metadata = { ...header.metadata, keyslots, digests, config } as Luks2Header['metadata'];
  return { ...header, hdrSizeBytes, metadata };
}

const keyslot = (offsetBytes: number) => ({
  type: 'luks2',
  key_size: 64,
  af: { type: 'luks1', stripes: 4000, hash: 'sha256' },
  area: {
    type: 'raw',
    offset: String(offsetBytes),
    size: '258048',
    encryption: 'aes-xts-plain64',
    key_size: 64,
  },
  kdf: { type: 'argon2id', time: 4, memory: 1048576, cpus: 4, salt: 'q6urq6urq6s=' },
});

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const seed = Number(process.env.SEED ?? Date.now() >>> 0);
  const runs = Number(process.env.RUNS ?? 20_000);
  process.stdout.write(`SEED=${seed} RUNS=${runs}\n`);
  const { opened, codes } = await fuzzLuks2(seed, runs);
  process.stdout.write(`${JSON.stringify({ opened, ...codes }, null, 2)}\n`);
}
