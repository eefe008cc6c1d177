/**
 * Conversions in place, cut by kill -9 at any moment: whatever was cut is gone on with, and every byte is there at the end.
 * A process that is killed has several under way, since its start takes longer than they do. CUTS=n asks for more; SEED=n
 * repeats a run, as far as time lets it.
 */

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import t from 'tap';
import { readDisk } from '#sealdisk/disk/read.js';
import { isFailure } from '#sealdisk/errors.js';
import { Random } from '../fuzz/random.js';
import { plaintextOf } from './plaintext.js';
import { diskRig, KEY_URI } from './rig.js';

t.setTimeout(600_000);

const SOURCE = fileURLToPath(new URL('./convert-child.js', import.meta.url));
/** One file, so that a process starts fast. */
const BUNDLE = SOURCE.replace(/js$/, 'cjs');
const CUTS = Number(process.env.CUTS ?? 200);
const LANES = 2;
/** From when a first piece is through: what is left takes about as long. */
const SPREAD_MS = 60;
const SEED = Number(process.env.SEED ?? randomBytes(4).readUInt32LE());
/** Less than the header's room, a little more than it, more pieces than one; of sectors of each size. */
const SIZES = [3 << 20, (17 << 20) + 512, 20 << 20, 33_333_333];

interface File {
  readonly path: string;
  readonly plain: Buffer;
}

const bundle = build({
  entryPoints: [SOURCE],
  outfile: BUNDLE,
  bundle: true,
  platform: 'node',
  format: 'cjs',
  external: ['sodium-native', 'fs-ext', 'node-gyp-build'],
  define: { 'import.meta.url': 'SELF' },
  banner: { js: "const SELF = require('node:url').pathToFileURL(__filename).href;" },
});

t.test(`${CUTS} cuts lose no byte of what is encrypted, and rekeyed, where it lies`, async (t) => {
  const { poolDir, at } = await diskRig(t);
  await bundle;
  const random = new Random(SEED);
  t.comment(`SEED=${SEED}`);
  let cuts = 0;
  /** Converts all files, in processes that are killed as long as more cuts are wanted. */
  const untilDone = async (verb: 'encrypt' | 'rekey', files: readonly File[]) => {
    let left = files.map(({ path }) => path);
    while (left.length > 0) {
      const child = spawn(process.execPath, [BUNDLE, poolDir, KEY_URI, verb, ...left], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const ended = once(child, 'exit') as Promise<[number | null, string | null]>;
      const moved = once(child.stdout as NodeJS.ReadableStream, 'data');
      // Some are killed before that.
      if (random.chance(0.8)) await Promise.race([moved, ended]);
      if (cuts < CUTS) setTimeout(() => child.kill('SIGKILL'), random.below(SPREAD_MS));
      const [code, signal] = await ended;
      if (code !== 0 && signal !== 'SIGKILL') throw new Error(`${verb} ended with ${code ?? signal}`);
      const states = await Promise.all(left.map((path) => stateOf(path, verb === 'encrypt' ? 0 : 1)));
      left = left.filter((_, i) => states[i] !== 'done');
      if (signal) cuts += states.filter((state) => state === 'amid').length;
    }
  };
  const lane = async (name: string) => {
    while (cuts < CUTS) {
      const files = SIZES.map((sizeBytes) => ({
        path: at(`${name}-${sizeBytes}`),
        plain: randomBytes(sizeBytes),
      }));
      for (const { path, plain } of files) writeFileSync(path, plain);
      for (const verb of ['encrypt', 'rekey'] as const) {
        await untilDone(verb, files);
        for (const file of files)
          t.ok(await holds(file, poolDir), `${file.plain.length} bytes after ${verb}`);
      }
    }
  };
  await Promise.all(Array.from({ length: LANES }, (_, i) => lane(`lane${i}`)));
  t.ok(cuts >= CUTS, `${cuts} cuts`);
});

/** Plain or not begun, begun, or a disk of this generation. */
async function stateOf(path: string, generation: number): Promise<'not begun' | 'amid' | 'done'> {
  try {
    return (await readDisk(path)).token.generation === generation ? 'done' : 'not begun';
  } catch (error) {
    return isFailure(error, 'CONVERT_UNFINISHED') ? 'amid' : 'not begun';
  }
}

async function holds({ path, plain }: File, poolDir: string): Promise<boolean> {
  const clear = await plaintextOf(await readDisk(path), poolDir);
  const rest = clear.subarray(plain.length);
  return (
    clear.subarray(0, plain.length).equals(plain) && rest.length < 512 && rest.every((byte) => byte === 0)
  );
}
