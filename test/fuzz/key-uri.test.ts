/**
 * Key URIs as nobody would write them, made of good ones: each is refused by its code, or has one spelling that stays as
 * it is when it is read again, that a token can hold, and that names the same scheme.
 */

import t from 'tap';
import { isFailure } from '#sealdisk/errors.js';
import { canonicalKeyUri, schemeIds } from '#sealdisk/kms/registry.js';
import { KEY_URI_MAX_BYTES } from '#sealdisk/luks2/token.js';
import { Random } from './random.js';

const CASES = 5_000;
const GOOD = [
  'local:alias/bar',
  '80c72a39-acbb-41bc-84bf-876a7f74fc21',
  'pkcs11:token=disks;object=a%20b;type=secret-key',
  'pkcs11:id=%01A%fF;serial=1?module-path=/usr/lib/x.so',
  'kmip://[::1]:1/a%2Fb?ca=/a&cert=/c&key=/k',
  'kmip://kms.example/?name=disks',
  'awskms:///alias/bar?region=eu-central-1&endpoint=https://kms.example:4566',
  'awskms:///80c72a39-acbb-41bc-84bf-876a7f74fc21?region=eu-central-1&profile=a',
  'hashivault://a.b-c?addr=https://vault:8200&mount=kms/transit&namespace=n/m',
  'exec:///usr/local/bin/my-kms?key=x%2Fy%26z',
];
const PARTS = [
  '%',
  '%2',
  '%00',
  '%0a',
  '%2e',
  '%ff',
  '%C3%A4',
  'ä',
  '/',
  '//',
  '..',
  '?',
  '&',
  ';',
  '=',
  '#',
  ':',
  '@',
  ' ',
  '\n',
  '\0',
  '\ud800',
  '[',
  ']',
  '+',
  '\\',
  'key=',
  'a'.repeat(300),
];

t.test('every key URI is refused by its code or has one lasting spelling', async (t) => {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
  t.comment(`SEED=${seed}`);
  const random = new Random(seed);
  let taken = 0;
  for (let i = 0; i < CASES; i++) {
    const uri = twisted(random);
    try {
      const canonical = canonicalKeyUri(uri);
      taken += 1;
      const fault = faultOf(canonical);
      if (fault) t.fail(`${JSON.stringify(uri)} becomes ${JSON.stringify(canonical)}, which ${fault}`);
    } catch (error) {
      const refused = isFailure(error, 'KEY_URI_SYNTAX', 'KEY_URI_SCHEME') && /^[ -~]+$/.test(error.message);
      if (!refused) t.fail(`${JSON.stringify(uri)}: ${(error as Error).message}`);
    }
  }
  t.ok(taken > CASES / 20 && taken < CASES, `${taken} of ${CASES} were taken`);
});

function twisted(random: Random): string {
  let uri = random.pick(GOOD);
  for (let changes = random.below(4); changes > 0; changes--) {
    const at = random.below(uri.length + 1);
    const gone = random.chance(0.5) ? random.below(4) : 0;
    const other = random.pick(GOOD);
    const part = random.chance(0.7) ? random.pick(PARTS) : other.slice(random.below(other.length));
    uri = uri.slice(0, at) + (random.chance(0.7) ? part : '') + uri.slice(at + gone);
  }
  return uri;
}

function faultOf(canonical: string): string | undefined {
  if (canonicalKeyUri(canonical) !== canonical)
    return `becomes ${JSON.stringify(canonicalKeyUri(canonical))}`;
  if (Buffer.byteLength(canonical) > KEY_URI_MAX_BYTES) return 'no token can hold';
  if (/\p{Cc}|\p{Cs}/u.test(canonical)) return 'cannot be printed';
  return schemeIds().includes(canonical.split(':')[0] ?? '') ? undefined : 'has no scheme';
}
