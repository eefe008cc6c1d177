/** Conversions in a process of their own, to be killed: POOL KEY-URI VERB FILE... Says so when a piece of one is through. */

import { encryptInPlace, type Keys, rekey } from '#sealdisk/disk/in-place.js';
import { localScheme } from '#sealdisk/kms/local/provider.js';

const [poolDir, keyUri, verb, ...paths] = process.argv.slice(2) as [string, string, string, ...string[]];
const open = () => localScheme.open(keyUri, { poolDir, env: {} });
const keys: Keys = { forNew: open, forToken: open };
const options = { timeoutMs: 10_000, onProgress: () => process.stdout.write('.') };

for (const path of paths) {
  if (verb === 'rekey') void rekey(path, keys, options);
  else void encryptInPlace(path, { name: 'n', tags: {} }, keys, options);
}
