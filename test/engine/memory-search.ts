// What a search of memory looks for, and the search: in a core file, and in all that a live process has mapped.

import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

/** Pieces of a 64-byte data key, and of the key schedule that is made of it, by name. */
export function secretsOf(key: Buffer): Map<string, Buffer> {
  const secrets = new Map<string, Buffer>();
  for (let at = 0; at < 64; at += 16) secrets.set(`key bytes ${at}`, key.subarray(at, at + 16));
  secrets.set('round key of the data half', thirdRoundKey(key.subarray(0, 32)));
  secrets.set('round key of the tweak half', thirdRoundKey(key.subarray(32, 64)));
  return secrets;
}

/** The third round key of AES-256, the first that is not the key itself (FIPS 197, section 5.2). */
function thirdRoundKey(key: Buffer): Buffer {
  const round = Buffer.alloc(16);
  const last = key.subarray(28, 32);
  const rotated = [last[1], last[2], last[3], last[0]].map((byte) => subByte(byte ?? 0));
  rotated[0] = (rotated[0] ?? 0) ^ 1;
  for (let i = 0; i < 16; i++) round[i] = (key[i] ?? 0) ^ (i < 4 ? (rotated[i] ?? 0) : (round[i - 4] ?? 0));
  return round;
}

/** The S-box: the inverse in GF(2^8), then an affine map. */
function subByte(byte: number): number {
  let inverse = 0;
  for (let x = 1; x < 256 && byte !== 0; x++) if (multiply(byte, x) === 1) inverse = x;
  let result = 0x63;
  for (let shift = 0; shift < 5; shift++) result ^= ((inverse << shift) | (inverse >> (8 - shift))) & 0xff;
  return result;
}

function multiply(a: number, b: number): number {
  let product = 0;
  for (let bit = 7; bit >= 0; bit--) {
    product = (product << 1) ^ (product & 0x80 ? 0x11b : 0);
    if ((b >> bit) & 1) product ^= a;
  }
  return product;
}

/** Names of the secrets that `memory` holds. */
export function found(memory: Buffer, secrets: Map<string, Buffer>): string[] {
  return [...secrets].filter(([, bytes]) => memory.includes(bytes)).map(([name]) => name);
}

/** Everything that the process has mapped and that can be read, searched map by map. */
export function foundInProcess(pid: number, secrets: Map<string, Buffer>): string[] {
  const hits = new Set<string>();
  const fd = openSync(`/proc/${pid}/mem`, 'r');
  for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
    const map = /^([0-9a-f]+)-([0-9a-f]+) r/.exec(line);
    if (!map || line.includes('[v')) continue;
    const start = Number.parseInt(map[1] ?? '', 16);
    const end = Number.parseInt(map[2] ?? '', 16);
    const chunk = Buffer.alloc(8 << 20);
    for (let at = start; at < end; at += chunk.length - 64) {
      try {
        const got = readSync(fd, chunk, 0, Math.min(chunk.length, end - at), at);
        for (const name of found(chunk.subarray(0, got), secrets)) hits.add(`${name} in ${line}`);
      } catch {
        break; // a guard page or a hole: nothing stands there
      }
    }
  }
  closeSync(fd);
  return [...hits];
}
