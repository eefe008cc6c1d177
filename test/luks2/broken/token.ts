/** Flaws of the sealdisk-kms token. */

import type { AnyJson, Flaw } from './flaw.js';

const token = (changes: AnyJson) => (json: AnyJson) => Object.assign(json.tokens['0'], changes);
const tags = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`t${i}`, '']));

export const TOKEN_FLAWS: readonly Flaw[] = [
  { title: 'a volume without a token', code: 'LUKS2_TOKEN_MISSING', json: (j) => (j.tokens = {}) },
  {
    title: 'a token of another type only',
    code: 'LUKS2_TOKEN_MISSING',
    json: token({ type: 'systemd-tpm2' }),
  },
  { title: 'two tokens', code: 'LUKS2_TOKEN', json: (j) => (j.tokens['1'] = { ...j.tokens['0'] }) },
  { title: 'a token of version 2', code: 'LUKS2_TOKEN', json: token({ version: 2, surprise: true }) },
  { title: 'an unknown field of the token', code: 'LUKS2_TOKEN', json: token({ surprise: true }) },
  {
    title: 'an unknown field of the token with an escape sequence for a name',
    code: 'LUKS2_TOKEN',
    json: token({ '\u001b[31m': true }),
  },
  {
    title: 'a token that is bound to a keyslot',
    code: 'LUKS2_TOKEN',
    json: (j) => {
      j.keyslots['0'] = { type: 'luks2', area: { type: 'raw', offset: '32768', size: '4096' } };
      j.tokens['0'].keyslots = ['0'];
    },
  },
  { title: 'a token without a key URI', code: 'LUKS2_TOKEN', json: (j) => delete j.tokens['0'].key_uri },
  { title: 'an empty key id', code: 'LUKS2_TOKEN', json: token({ key_id: '' }) },
  { title: 'a key URI of 1025 bytes', code: 'LUKS2_TOKEN', json: token({ key_uri: 'x'.repeat(1025) }) },
  { title: 'a wrapped key of no bytes', code: 'LUKS2_TOKEN', json: token({ wrapped_key: '' }) },
  { title: 'a wrapped key that is not base64', code: 'LUKS2_TOKEN', json: token({ wrapped_key: 'AAA' }) },
  {
    title: 'a wrapped key bound to no UUID',
    code: 'LUKS2_TOKEN',
    json: token({ wrapped_for: 'x' }),
  },
  {
    title: 'an object of an unknown kind',
    code: 'LUKS2_TOKEN',
    json: token({ object: { kind: 'tape', id: 'x' } }),
  },
  { title: 'an object without an id', code: 'LUKS2_TOKEN', json: token({ object: { kind: 'disk' } }) },
  {
    title: 'an unknown field of the object',
    code: 'LUKS2_TOKEN',
    json: token({ object: { kind: 'disk', id: 'x', size: 1 } }),
  },
  { title: 'a name with an escape sequence', code: 'LUKS2_TOKEN', json: token({ name: '\u001b[31mred' }) },
  { title: 'a name of 256 bytes', code: 'LUKS2_TOKEN', json: token({ name: 'ü'.repeat(128) }) },
  {
    title: 'a creation time without a zone',
    code: 'LUKS2_TOKEN',
    json: token({ created_at: '2026-01-31 12:00' }),
  },
  {
    title: 'a creation time that does not exist',
    code: 'LUKS2_TOKEN',
    json: token({ created_at: '2026-02-31T12:00:00.000Z' }),
  },
  { title: 'tags that are an array', code: 'LUKS2_TOKEN', json: token({ tags: ['a'] }) },
  { title: 'a tag whose value is a number', code: 'LUKS2_TOKEN', json: token({ tags: { a: 1 } }) },
  { title: 'a tag without a key', code: 'LUKS2_TOKEN', json: token({ tags: { '': 'a' } }) },
  { title: 'holes that are false, not absent', code: 'LUKS2_TOKEN', json: token({ holes: false }) },
  { title: 'holes that are text', code: 'LUKS2_TOKEN', json: token({ holes: 'true' }) },
  { title: 'a generation of 0, not absent', code: 'LUKS2_TOKEN', json: token({ generation: 0 }) },
  { title: 'a generation below 0', code: 'LUKS2_TOKEN', json: token({ generation: -1 }) },
  { title: 'a generation that is text', code: 'LUKS2_TOKEN', json: token({ generation: '1' }) },
  { title: '51 tags', code: 'LUKS2_TOKEN', json: token({ tags: tags(51) }) },
  {
    title: 'a header_mac of 31 bytes',
    code: 'LUKS2_TOKEN',
    json: token({ header_mac: Buffer.alloc(31).toString('base64') }),
  },
  {
    title: 'a token without a header_mac',
    code: 'LUKS2_TOKEN',
    json: (j) => delete j.tokens['0'].header_mac,
  },
];
