// The XTS kernels of this processor, one core, in the second-level cache.

import { run } from './servers.mjs';

const BYTES = '65536';

export function cipherTable() {
  const rows = run('build/native-test/fast/xts', [])
    .trim()
    .split('\n')
    .map((line) => line.split(/\s+/))
    .filter(([, bytes]) => bytes === BYTES);
  const evp = (sector) => rows.find(([kernel, , s]) => kernel === 'openssl' && s === sector);
  const lines = rows.map(([kernel, , sector, encrypting, decrypting]) => {
    const [, , , encryptingEvp, decryptingEvp] = evp(sector);
    const times = [encrypting / encryptingEvp, decrypting / decryptingEvp]
      .map((one) => one.toFixed(2))
      .join(', ');
    return `| ${kernel} | ${sector} | ${encrypting} | ${decrypting} | ${times} |`;
  });
  return [
    '## The cipher',
    '',
    "AES-256-XTS over 64 KiB at a time on one core, GB/s; `openssl` is OpenSSL's EVP, which the last column compares with.",
    '',
    '| kernel | sector | encrypting | decrypting | as a multiple of EVP |',
    '|---|---|---|---|---|',
    ...lines,
  ].join('\n');
}
