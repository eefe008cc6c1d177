/** Flaws of the binary header and of the bytes of the JSON area. */

import { type Flaw, JSON_AT } from './flaw.js';

export const BINARY_FLAWS: readonly Flaw[] = [
  { title: 'a file without a magic', code: 'LUKS2_NOT_LUKS', bytes: (copy) => copy.fill(0, 0, 6) },
  { title: 'a magic with one wrong byte', code: 'LUKS2_NOT_LUKS', bytes: (copy) => copy.writeUInt8(0xbf, 5) },
  { title: 'a LUKS1 header', code: 'LUKS2_VERSION', bytes: (copy) => copy.writeUInt16BE(1, 6) },
  { title: 'a header of version 3', code: 'LUKS2_VERSION', bytes: (copy) => copy.writeUInt16BE(3, 6) },
  {
    title: 'a header size that is not allowed',
    code: 'LUKS2_HEADER_SIZE',
    bytes: (copy) => copy.writeBigUInt64BE(20480n, 8),
  },
  {
    title: 'a header size of 2^64 - 1',
    code: 'LUKS2_HEADER_SIZE',
    bytes: (copy) => copy.writeBigUInt64BE(2n ** 64n - 1n, 8),
  },
  {
    title: 'a header size that ends behind the file',
    code: 'DISK_TOO_SMALL',
    bytes: (copy, which) => {
      if (which === 'primary') copy.writeBigUInt64BE(4n << 20n, 8);
      else copy.fill(0);
    },
  },
  {
    title: 'a copy that says it stands elsewhere',
    code: 'LUKS2_HEADER_OFFSET',
    bytes: (copy) => copy.writeBigUInt64BE(32768n, 256),
  },
  {
    title: 'a checksum algorithm that is not sha256',
    code: 'LUKS2_CHECKSUM_ALGORITHM',
    bytes: (copy) => copy.write('sha512', 72),
  },
  {
    title: 'a checksum algorithm that no zero byte ends',
    code: 'LUKS2_FIELD',
    bytes: (copy) => copy.fill('a', 72, 104),
  },
  {
    title: 'a checksum with one wrong bit',
    code: 'LUKS2_CHECKSUM',
    afterChecksum: (copy) => copy.writeUInt8(copy.readUInt8(448) ^ 1, 448),
  },
  {
    title: 'a checksum with bytes behind its 32',
    code: 'LUKS2_CHECKSUM',
    afterChecksum: (copy) => copy.writeUInt8(1, 448 + 32),
  },
  {
    title: 'a JSON area with one wrong bit',
    code: 'LUKS2_CHECKSUM',
    afterChecksum: (copy) => copy.writeUInt8(copy.readUInt8(JSON_AT + 9) ^ 1, JSON_AT + 9),
  },
  { title: 'padding in use', code: 'LUKS2_FIELD', bytes: (copy) => copy.writeUInt8(1, 300) },
  { title: 'padding in use up to 4096', code: 'LUKS2_FIELD', bytes: (copy) => copy.writeUInt8(1, 4095) },
  { title: 'a UUID that is none', code: 'LUKS2_FIELD', bytes: (copy) => copy.write('g', 168) },
  { title: 'a label that is not UTF-8', code: 'LUKS2_FIELD', bytes: (copy) => copy.writeUInt8(0xff, 24) },
  { title: 'a label that no zero byte ends', code: 'LUKS2_FIELD', bytes: (copy) => copy.fill('a', 24, 72) },
];

export const JSON_TEXT_FLAWS: readonly Flaw[] = [
  { title: 'an empty JSON area', code: 'LUKS2_JSON', text: () => '' },
  { title: 'a JSON area that begins with a space', code: 'LUKS2_JSON', text: (text) => ` ${text}` },
  {
    title: 'a JSON area that begins with a byte order mark',
    code: 'LUKS2_JSON',
    text: (text) => `\ufeff${text}`,
  },
  { title: 'a JSON area that is an array', code: 'LUKS2_JSON', text: (text) => `[${text}]` },
  { title: 'JSON without its end', code: 'LUKS2_JSON', text: (text) => text.slice(0, -1) },
  { title: 'text after the JSON', code: 'LUKS2_JSON', text: (text) => `${text} {}` },
  {
    title: 'bytes after the zero byte that ends the JSON',
    code: 'LUKS2_JSON',
    bytes: (copy) => copy.writeUInt8(0x20, copy.length - 1),
  },
  {
    title: 'JSON that no zero byte ends',
    code: 'LUKS2_JSON',
    bytes: (copy) => copy.fill(' ', copy.indexOf(0, JSON_AT)),
  },
  {
    title: 'JSON that is not UTF-8',
    code: 'LUKS2_JSON',
    bytes: (copy) => copy.writeUInt8(0xff, copy.indexOf('storage')),
  },
  {
    title: 'a key that stands twice',
    code: 'LUKS2_JSON',
    text: (text) => text.replace('{"keyslots":', '{"keyslots":{},"keyslots":'),
  },
  {
    title: 'a key that stands twice, once with an escape',
    code: 'LUKS2_JSON',
    text: (text) => text.replace('{"keyslots":', '{"keyslots":{},"\\u006beyslots":'),
  },
  {
    title: 'the key __proto__',
    code: 'LUKS2_JSON',
    text: (text) => text.replace('"tags":{', '"tags":{"__proto__":"x",'),
  },
  {
    title: 'JSON of 33 levels',
    code: 'LUKS2_JSON',
    text: (text) => text.replace('"tags":{', `"tags":{"x":${'['.repeat(31)}${']'.repeat(31)},`),
  },
  {
    title: 'a whole number that a double does not hold',
    code: 'LUKS2_JSON',
    text: (text) => text.replace('"version":1', '"version":9007199254740993'),
  },
  {
    title: 'an infinite number',
    code: 'LUKS2_JSON',
    text: (text) => text.replace('"version":1', '"version":1e999'),
  },
  {
    title: 'a literal that is none',
    code: 'LUKS2_JSON',
    text: (text) => text.replace('"version":1', '"version":NaN'),
  },
  {
    title: 'a trailing comma',
    code: 'LUKS2_JSON',
    text: (text) => text.replace('"keyslots":[]', '"keyslots":[,]'),
  },
];
