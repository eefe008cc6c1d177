/** The ways in which the LUKS2 fuzzer damages a header: bytes, JSON as a value, JSON as text. */

import type { Random } from './random.js';

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
type Container = Json[] | { [key: string]: Json };

const NUMBERS = [
  0n,
  1n,
  4095n,
  4096n,
  16384n,
  20480n,
  2n ** 22n,
  2n ** 32n,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 1n,
];
/** Where the numbers of the binary header stand. */
const U64_AT = [8, 16, 256];

export function damageBytes(copy: Buffer, random: Random): void {
  switch (random.below(5)) {
    case 0:
      for (let n = 1 + random.below(8); n > 0; n--) flipBit(copy, random.below(copy.length), random);
      return;
    case 1:
      flipBit(copy, random.below(512), random);
      return;
    case 2:
      copy.writeBigUInt64BE(random.pick(NUMBERS), random.pick(U64_AT));
      return;
    case 3: {
      const start = random.below(copy.length);
      copy.fill(
        random.pick([0, 0x20, 0x7b, 0xff]),
        start,
        Math.min(copy.length, start + 1 + random.below(512)),
      );
      return;
    }
    default: {
      const block = () => 512 * random.below(copy.length / 512);
      copy.copyWithin(block(), block(), copy.length);
    }
  }
}

function flipBit(copy: Buffer, at: number, random: Random): void {
  copy.writeUInt8(copy.readUInt8(at) ^ (1 << random.below(8)), at);
}

/** One change somewhere in the tree. */
export function damageValue(json: Json, random: Random): void {
  const container = random.pick(containersOf(json));
  const keys = Object.keys(container);
  const members = container as { [key: string]: Json };
  const key = keys.length > 0 ? random.pick(keys) : '0';
  switch (random.below(5)) {
    case 0:
      delete members[key];
      return;
    case 1:
      members[random.pick(NAMES)] = oddValue(random);
      return;
    case 2:
      members[random.pick(NAMES)] = structuredClone(members[key] ?? null);
      return;
    default:
      members[key] = near(members[key], random);
  }
}

const NAMES = [
  '0',
  '1',
  '31',
  '32',
  '-1',
  '',
  'type',
  'keyslots',
  'segments',
  'flags',
  'constructor',
  'toString',
];

function containersOf(json: Json): Container[] {
  if (typeof json !== 'object' || json === null) return [];
  const isSmall = (array: Container) => !Array.isArray(array) || array.length < 1000;
  return [json, ...Object.values(json).flatMap(containersOf)].filter(isSmall);
}

/** A value that is almost the one that stood there, or nothing like it. */
function near(value: Json | undefined, random: Random): Json {
  if (random.chance(0.4)) return oddValue(random);
  if (typeof value === 'number') return value + random.pick([-1, 1, 0.5, 2 ** 31, 2 ** 52]);
  if (typeof value !== 'string') return [value ?? null];
  const at = random.below(value.length + 1);
  const inserted = random.pick(['', '0', '=', '-', ' ', '\0', '\u001b[2J', 'ü', '\ud800', '9'.repeat(30)]);
  return value.slice(0, at) + inserted + value.slice(at + random.below(2));
}

function oddValue(random: Random): Json {
  switch (random.below(10)) {
    case 0:
      return null;
    case 1:
      return random.chance(0.5);
    case 2:
      return random.pick([-1, 0, 1, 512, 4096, 2 ** 31, 2 ** 32, 2 ** 53 - 1, 2 ** 53, 1e300, 0.1]);
    case 3:
      return String(random.pick(NUMBERS));
    case 4:
      return random.pick([
        '',
        'crypt',
        'dynamic',
        'pbkdf2',
        'sha256',
        'aes-xts-plain64',
        'sealdisk-kms',
        'AAAA',
        '__proto__',
      ]);
    case 5:
      return 'x'.repeat(random.below(3000));
    case 6:
      return nested(random.below(40));
    case 7:
      return Array.from({ length: random.below(2000) }, () => 0);
    case 8:
      return Object.fromEntries(Array.from({ length: random.below(60) }, (_, i) => [String(i), {}]));
    default:
      return Buffer.alloc(random.below(70), 7).toString('base64');
  }
}

function nested(depth: number): Json {
  let value: Json = 0;
  for (let i = 0; i < depth; i++) value = i % 2 === 0 ? [value] : { a: value };
  return value;
}

const FRAGMENTS = [
  '{',
  '}',
  '[',
  ']',
  '"',
  ',',
  ':',
  '\\',
  '\\u0000',
  '1e999',
  '-',
  'null',
  '"a":1,',
  '"__proto__":{},',
  '\0',
  '\ufeff',
  ' ',
];

/** A piece of the text taken out, doubled, or another put in. */
export function damageText(text: string, random: Random): string {
  const at = random.below(text.length);
  const end = Math.min(text.length, at + 1 + random.below(40));
  switch (random.below(4)) {
    case 0:
      return text.slice(0, at) + text.slice(end);
    case 1:
      return text.slice(0, end) + text.slice(at);
    case 2:
      return text.slice(0, at) + random.pick(FRAGMENTS).repeat(1 + random.below(40)) + text.slice(at);
    default:
      return text.slice(0, at) + random.pick(FRAGMENTS) + text.slice(at + 1);
  }
}
