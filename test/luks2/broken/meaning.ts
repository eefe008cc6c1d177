/** Flaws of what the JSON says: layout, segment, digest, keyslots. */

import type { AnyJson, Flaw } from './flaw.js';

const keyslot = (changes: AnyJson = {}) => ({
  type: 'luks2',
  key_size: 64,
  area: {
    type: 'raw',
    offset: '32768',
    size: '258048',
    encryption: 'aes-xts-plain64',
    key_size: 64,
    ...changes,
  },
});

export const LAYOUT_FLAWS: readonly Flaw[] = [
  { title: 'an unknown part of the JSON', code: 'LUKS2_FIELD', json: (j) => (j.extras = {}) },
  { title: 'JSON without keyslots', code: 'LUKS2_FIELD', json: (j) => delete j.keyslots },
  { title: 'JSON without config', code: 'LUKS2_FIELD', json: (j) => delete j.config },
  { title: 'tokens that are an array', code: 'LUKS2_FIELD', json: (j) => (j.tokens = []) },
  { title: 'an object id of 32', code: 'LUKS2_FIELD', json: (j) => (j.keyslots['32'] = keyslot()) },
  {
    title: 'an object id with a leading zero',
    code: 'LUKS2_FIELD',
    json: (j) => (j.keyslots['00'] = keyslot()),
  },
  { title: 'a json_size that is a number', code: 'LUKS2_FIELD', json: (j) => (j.config.json_size = 12288) },
  { title: 'a json_size of another size', code: 'LUKS2_FIELD', json: (j) => (j.config.json_size = '28672') },
  {
    title: 'a keyslots_size that is no multiple of 4096',
    code: 'LUKS2_FIELD',
    json: (j) => (j.config.keyslots_size = '4097'),
  },
  {
    title: 'a keyslots_size with a sign',
    code: 'LUKS2_FIELD',
    json: (j) => (j.config.keyslots_size = '-4096'),
  },
  {
    title: 'a keyslots_size of more than 128 MiB',
    code: 'LUKS2_FIELD',
    json: (j) => {
      j.config.keyslots_size = String(2 ** 28);
      j.segments['0'].offset = String(2 ** 30);
    },
  },
  {
    title: 'keyslots that reach into the data',
    code: 'LUKS2_FITS',
    json: (j) => (j.config.keyslots_size = '16748544'),
  },
  { title: 'an unknown field of config', code: 'LUKS2_FIELD', json: (j) => (j.config.future = '1') },
  { title: 'flags that are no array', code: 'LUKS2_FIELD', json: (j) => (j.config.flags = 'allow-discards') },
  {
    title: 'an unknown requirement',
    code: 'LUKS2_REQUIREMENT',
    json: (j) => (j.config.requirements = { mandatory: ['tomorrow'] }),
  },
  {
    title: 'a reencryption that is under way',
    code: 'LUKS2_REQUIREMENT',
    json: (j) => {
      j.config.requirements = { mandatory: ['online-reencrypt-v2'] };
      j.segments['1'] = { ...j.segments['0'] };
    },
  },
  {
    title: 'requirements of an unknown kind',
    code: 'LUKS2_FIELD',
    json: (j) => (j.config.requirements = { optional: [] }),
  },
  {
    title: 'requirements that are no text',
    code: 'LUKS2_FIELD',
    json: (j) => (j.config.requirements = { mandatory: [1] }),
  },
  {
    title: 'a keyslot area before the keyslots area',
    code: 'LUKS2_FITS',
    json: (j) => (j.keyslots['0'] = keyslot({ offset: '28672' })),
  },
  {
    title: 'a keyslot area that ends behind the keyslots area',
    code: 'LUKS2_FITS',
    json: (j) => (j.keyslots['0'] = keyslot({ offset: String(16777216 - 4096) })),
  },
  {
    title: 'a keyslot area whose end would overflow 64 bits',
    code: 'LUKS2_FIELD',
    json: (j) => (j.keyslots['0'] = keyslot({ size: '18446744073709551615' })),
  },
  {
    title: 'a keyslot without an area',
    code: 'LUKS2_FIELD',
    json: (j) => (j.keyslots['0'] = { type: 'luks2' }),
  },
  { title: 'a token without a type', code: 'LUKS2_FIELD', json: (j) => (j.tokens['1'] = { keyslots: [] }) },
  {
    title: 'a token of a keyslot that is not there',
    code: 'LUKS2_FIELD',
    json: (j) => (j.tokens['1'] = { type: 'other', keyslots: ['7'] }),
  },
];

const segment = (changes: AnyJson) => (json: AnyJson) => Object.assign(json.segments['0'], changes);

export const SEGMENT_FLAWS: readonly Flaw[] = [
  { title: 'no segment', code: 'LUKS2_SEGMENTS', json: (j) => (j.segments = {}) },
  {
    title: 'a second segment',
    code: 'LUKS2_SEGMENTS',
    json: (j) => (j.segments['1'] = { ...j.segments['0'] }),
  },
  {
    title: 'one segment under another id',
    code: 'LUKS2_SEGMENTS',
    json: (j) => (j.segments = { 1: j.segments['0'] }),
  },
  { title: 'a linear segment', code: 'LUKS2_FIELD', json: segment({ type: 'linear' }) },
  { title: 'aes-cbc', code: 'LUKS2_CIPHER', json: segment({ encryption: 'aes-cbc-essiv:sha256' }) },
  { title: 'serpent', code: 'LUKS2_CIPHER', json: segment({ encryption: 'serpent-xts-plain64' }) },
  {
    title: 'aes-xts-plain, whose IV ends at 32 bits',
    code: 'LUKS2_CIPHER',
    json: segment({ encryption: 'aes-xts-plain' }),
  },
  { title: 'a null cipher', code: 'LUKS2_CIPHER', json: segment({ encryption: 'cipher_null-ecb' }) },
  { title: 'a cipher that is no text', code: 'LUKS2_CIPHER', json: segment({ encryption: 7 }) },
  {
    title: 'integrity',
    code: 'LUKS2_CIPHER',
    json: segment({
      integrity: { type: 'hmac(sha256)', journal_encryption: 'none', journal_integrity: 'none' },
    }),
  },
  { title: 'an unknown field of a segment', code: 'LUKS2_FIELD', json: segment({ flags: ['backup-final'] }) },
  { title: 'a sector size of 1024', code: 'LUKS2_SECTOR_SIZE', json: segment({ sector_size: 1024 }) },
  { title: 'a sector size that is text', code: 'LUKS2_SECTOR_SIZE', json: segment({ sector_size: '4096' }) },
  { title: 'a segment of fixed size', code: 'LUKS2_FIELD', json: segment({ size: '1048576' }) },
  { title: 'an iv_tweak of 8', code: 'LUKS2_FIELD', json: segment({ iv_tweak: '8' }) },
  { title: 'an iv_tweak that is a number', code: 'LUKS2_FIELD', json: segment({ iv_tweak: 0 }) },
  { title: 'an offset that is no whole sector', code: 'LUKS2_FIELD', json: segment({ offset: '16777728' }) },
  { title: 'an offset that is a number', code: 'LUKS2_FIELD', json: segment({ offset: 16777216 }) },
  {
    title: 'an offset of more than 64 bits',
    code: 'LUKS2_FIELD',
    json: segment({ offset: `1${'0'.repeat(30)}` }),
  },
  { title: 'an offset inside the headers', code: 'LUKS2_FITS', json: segment({ offset: '4096' }) },
];

const base64 = (sizeBytes: number) => Buffer.alloc(sizeBytes, 1).toString('base64');
const digest = (changes: AnyJson) => (json: AnyJson) => Object.assign(json.digests['0'], changes);

export const DIGEST_FLAWS: readonly Flaw[] = [
  { title: 'no digest', code: 'LUKS2_DIGEST', json: (j) => (j.digests = {}) },
  { title: 'a second digest', code: 'LUKS2_DIGEST', json: (j) => (j.digests['1'] = { ...j.digests['0'] }) },
  { title: 'a digest that is not pbkdf2', code: 'LUKS2_DIGEST', json: digest({ type: 'argon2id' }) },
  { title: 'a digest hash that is not sha256', code: 'LUKS2_DIGEST', json: digest({ hash: 'sha1' }) },
  { title: 'a digest salt of 31 bytes', code: 'LUKS2_DIGEST', json: digest({ salt: base64(31) }) },
  { title: 'a digest salt of 33 bytes', code: 'LUKS2_DIGEST', json: digest({ salt: base64(33) }) },
  { title: 'an empty digest salt', code: 'LUKS2_DIGEST', json: digest({ salt: '' }) },
  { title: 'a digest of 31 bytes', code: 'LUKS2_DIGEST', json: digest({ digest: base64(31) }) },
  { title: 'a digest of 64 bytes', code: 'LUKS2_DIGEST', json: digest({ digest: base64(64) }) },
  { title: 'a digest of no bytes', code: 'LUKS2_DIGEST', json: digest({ digest: '' }) },
  { title: 'a digest that is not base64', code: 'LUKS2_DIGEST', json: digest({ digest: `${base64(32)}\n` }) },
  { title: 'a digest that is missing', code: 'LUKS2_DIGEST', json: (j) => delete j.digests['0'].digest },
  { title: '999 iterations', code: 'LUKS2_DIGEST', json: digest({ iterations: 999 }) },
  { title: 'four billion iterations', code: 'LUKS2_DIGEST', json: digest({ iterations: 4294967295 }) },
  { title: 'half an iteration more', code: 'LUKS2_DIGEST', json: digest({ iterations: 1000.5 }) },
  { title: 'a digest that is bound to no segment', code: 'LUKS2_DIGEST', json: digest({ segments: [] }) },
  { title: 'a digest that is bound to segment 1', code: 'LUKS2_DIGEST', json: digest({ segments: ['1'] }) },
  {
    title: 'a digest of a keyslot that is not there',
    code: 'LUKS2_FIELD',
    json: digest({ keyslots: ['0'] }),
  },
  { title: 'an unknown field of a digest', code: 'LUKS2_FIELD', json: digest({ pepper: 'x' }) },
];
