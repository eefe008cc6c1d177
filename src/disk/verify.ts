/**
 * Whether what lies on the storage under an object is encrypted: its file is sampled as it is, not as a server would decipher
 * it; and where the key can be had, the samples are deciphered and must come out as something else.
 *
 * A sample shows plaintext where there is some; it cannot show that there is none elsewhere. Nothing is changed.
 */

import { read } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { promisify } from 'node:util';
import { engine } from '../engine/engine.js';
import { transform } from '../engine/transform.js';
import { failureOf, isFailure } from '../errors.js';
import type { ProviderEnvironment } from '../kms/provider.js';
import { openProvider } from '../kms/registry.js';
import { orDiskIo } from '../luks2/file.js';
import { openBacking } from './backing.js';
import { unwrapDataKey } from './envelope.js';
import type { StoredObject } from './object.js';
import { KMS_TIMEOUT_MS } from './patience.js';
import type { DiskDescription } from './read.js';
import { type Finding, type Measure, measure, type Seen } from './sampling.js';

export const SAMPLE_BYTES = 64 * 1024;
/** The beginning is read whole: there most programs write their marks. */
const BEGIN_SAMPLES = 16;
const DECIPHERED_SAMPLES = 16;
const FINDINGS_MAX = 20;

export interface Verified {
  readonly verdict: 'encrypted' | 'plain' | 'doubtful';
  /** In one line. */
  readonly why: string;
  readonly samples: number;
  readonly sampledBytes: number;
  /** Of the sample that has the least, and of all on average; null where nothing was written. */
  readonly entropy: { readonly least: number; readonly mean: number } | null;
  /** Of the sample that is least like noise. */
  readonly chiSquare: number | null;
  /** Blocks of 4 KiB that are zero and no holes. */
  readonly zeroBlocks: number;
  readonly findings: readonly Finding[];
  /** How many samples were deciphered, and how many of them came out as they lie there; or why none was. */
  readonly deciphered: { readonly samples: number; readonly same: number } | { readonly why: string };
}

/** Looks at up to about `wanted` samples. DISK_NOT_FOUND, DISK_IO. */
export async function verifyObject(
  object: StoredObject,
  wanted: number,
  environment: ProviderEnvironment,
): Promise<Verified> {
  const { path, encrypted } = object;
  const file = await openBacking(path, 'read');
  try {
    const places = placesOf(object, file, wanted);
    const measures = await look(object, file, places);
    const deciphered = encrypted
      ? await decipher(encrypted, file, measures, environment)
      : { why: 'it is a plain disk' };
    return judge(object, [...measures.values()], deciphered);
  } finally {
    await file.close();
  }
}

/** Where samples lie, in the payload: the beginning, then evenly; in holes lies nothing. */
function placesOf({ sizeBytes, encrypted }: StoredObject, file: FileHandle, wanted: number): Set<bigint> {
  const offsetBytes = encrypted?.offsetBytes ?? 0n;
  const sample = BigInt(SAMPLE_BYTES);
  const step = sizeBytes / BigInt(wanted);
  const begin = Array.from({ length: BEGIN_SAMPLES }, (_, i) => [BigInt(i) * sample, sample] as const);
  const evenly = Array.from({ length: wanted }, (_, i) => [BigInt(i) * step, step] as const);
  const places = new Set<bigint>();
  for (const [from, room] of [...begin, ...evenly]) {
    if (from >= sizeBytes) continue;
    const run = engine().dataRun(file.fd, offsetBytes + from);
    const at = run ? run[0] - offsetBytes : sizeBytes;
    if (at < sizeBytes && at < from + (room > 0n ? room : 1n)) places.add(at - (at % sample));
  }
  return places;
}

const readAt = promisify(read);

async function look(
  { path, sizeBytes, encrypted }: StoredObject,
  file: FileHandle,
  places: Set<bigint>,
): Promise<Map<bigint, Measure>> {
  const offsetBytes = encrypted?.offsetBytes ?? 0n;
  const seen: Seen = new Set();
  const measures = new Map<bigint, Measure>();
  const buffer = Buffer.alloc(SAMPLE_BYTES);
  const isHole = (at: bigint) =>
    (engine().dataRun(file.fd, offsetBytes + at)?.[0] ?? offsetBytes + sizeBytes) > offsetBytes + at;
  for (const at of places) {
    const left = sizeBytes - at;
    const length = left < SAMPLE_BYTES ? Number(left) : SAMPLE_BYTES;
    const { bytesRead } = await orDiskIo(path, readAt(file.fd, buffer, 0, length, Number(offsetBytes + at)));
    measures.set(at, measure(buffer.subarray(0, bytesRead), at, seen, isHole));
  }
  return measures;
}

/** Compares samples as they lie there with what the data key makes of them. The plaintext stays in the engine. */
async function decipher(
  disk: DiskDescription,
  file: FileHandle,
  measures: Map<bigint, Measure>,
  environment: ProviderEnvironment,
): Promise<Verified['deciphered']> {
  const written = [...measures].filter(([, { zeroBlocks, entropy }]) => entropy !== null && zeroBlocks === 0);
  let same = 0;
  const chosen = written.slice(0, DECIPHERED_SAMPLES);
  const failure = await failureOf(async () => {
    const provider = await openProvider(disk.token.keyUri, environment);
    try {
      const key = await unwrapDataKey(disk.header, provider, { timeoutMs: KMS_TIMEOUT_MS });
      try {
        for (const [at] of chosen) if (await decipheredSame(disk, file.fd, key, at)) same += 1;
      } finally {
        key.wipe();
      }
    } finally {
      await provider.close();
    }
  });
  return failure ? { why: failure.message } : { samples: chosen.length, same };
}

async function decipheredSame(
  { path, offsetBytes, sectorSize }: DiskDescription,
  fd: number,
  key: Awaited<ReturnType<typeof unwrapDataKey>>,
  beginBytes: bigint,
): Promise<boolean> {
  const from = { path, fd, offsetBytes, sectorSize };
  const sizeBytes = BigInt(sectorSize);
  try {
    await transform({ work: 'compare', from, to: { ...from, key }, beginBytes, sizeBytes }).done;
    return true;
  } catch (error) {
    if (isFailure(error, 'CONVERT_DIFFERS')) return false;
    throw error;
  }
}

function judge(
  object: StoredObject,
  measures: readonly Measure[],
  deciphered: Verified['deciphered'],
): Verified {
  const entropies = measures.map(({ entropy }) => entropy).filter((entropy) => entropy !== null);
  const chiSquares = measures.map(({ chiSquare }) => chiSquare).filter((chi) => chi !== null);
  const zeroBlocks = measures.reduce((sum, one) => sum + one.zeroBlocks, 0);
  const findings = measures.flatMap((one) => one.findings);
  const mean = entropies.reduce((sum, one) => sum + one, 0) / entropies.length;
  return {
    ...verdictOf(object, { findings, zeroBlocks, deciphered, written: entropies.length > 0 }),
    samples: measures.length,
    sampledBytes: measures.length * SAMPLE_BYTES,
    entropy: entropies.length > 0 ? { least: Math.min(...entropies), mean } : null,
    chiSquare: chiSquares.length > 0 ? Math.max(...chiSquares) : null,
    zeroBlocks,
    findings: findings.slice(0, FINDINGS_MAX),
    deciphered,
  };
}

type Evidence = Pick<Verified, 'findings' | 'zeroBlocks' | 'deciphered'> & { readonly written: boolean };

function verdictOf(
  { encrypted }: StoredObject,
  { findings, zeroBlocks, deciphered, written }: Evidence,
): Pick<Verified, 'verdict' | 'why'> {
  const [found] = findings;
  if (!encrypted) return { verdict: 'plain', why: found ? `${found.what} can be read` : 'it has no key' };
  if (found) return { verdict: 'doubtful', why: `at byte ${found.atBytes} lies ${found.what}` };
  if ('same' in deciphered && deciphered.same > 0) {
    return { verdict: 'doubtful', why: `${deciphered.same} samples decipher to what lies there` };
  }
  if (zeroBlocks > 0) {
    const why = `${zeroBlocks} blocks of zeros lie there: never written, of a copy that lost its holes; or plaintext`;
    return { verdict: 'doubtful', why };
  }
  return {
    verdict: 'encrypted',
    why: written ? 'all samples look like noise' : 'nothing was written to it yet',
  };
}
